// expect: a number is no duration
#include <prong/prong.hpp>

void test(prong::ProcessPoolExecutor& pool) {
    static_cast<void>(pool.try_submit_for(5, [] {}));
}
