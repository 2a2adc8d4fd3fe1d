// expect: wait and as_completed take a range of futures
#include <prong/prong.hpp>

void test(prong::Future<int>& first, prong::Future<int>& second) {
    prong::wait({first, second}, prong::ReturnWhen::first_completed);
}
