// expect: a lambda with captures cannot cross to another process
#include <prong/prong.hpp>

void test(prong::ProcessPoolExecutor& pool, int factor) {
    static_cast<void>(pool.submit_batch([factor](int n) { return factor * n; }, std::vector{1, 2}));
}
