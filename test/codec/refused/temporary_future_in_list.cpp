// expect: an AnyFuture refers to a future that is not const and stays in place
#include <prong/prong.hpp>

prong::Future<int> submit();

void test(prong::Future<int>& first) {
    prong::wait({first, submit()}, prong::ReturnWhen::first_completed);
}
