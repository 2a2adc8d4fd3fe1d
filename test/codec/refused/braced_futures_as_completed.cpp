// expect: wait and as_completed take a range of futures
#include <prong/prong.hpp>

void test(prong::Future<int>& first, prong::Future<int>& second) {
    for (auto& future : prong::as_completed({first, second})) static_cast<void>(future);
}
