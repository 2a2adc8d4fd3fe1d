// expect: a number is no duration
#include <prong/prong.hpp>

void test(prong::ProcessPoolExecutor& pool) {
    pool.with({.timeout = 2}).submit([] {});
}
