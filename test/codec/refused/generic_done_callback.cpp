// expect: a done callback must declare the type of its parameter
#include <prong/prong.hpp>

int square(int n);

void test(prong::Pool& pool) {
    pool.apply_async(prong::callbacks{.done = [](auto) {}}, square, 3);
}
