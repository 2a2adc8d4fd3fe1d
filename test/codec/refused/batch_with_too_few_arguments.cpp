// expect: the number of arguments is not the number of the callable's parameters
#include <prong/prong.hpp>

int add(int a, int b);

void test(const prong::PoolWithOptions& pool) {
    static_cast<void>(pool.submit_batch(add, std::vector{1, 2}));
}
