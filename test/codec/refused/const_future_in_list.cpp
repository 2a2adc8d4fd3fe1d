// expect: an AnyFuture refers to a future that is not const and stays in place
#include <prong/prong.hpp>

void test(prong::Future<int>& first, const prong::Future<int>& second) {
    for (auto& future : prong::as_completed({first, second})) static_cast<void>(future);
}
