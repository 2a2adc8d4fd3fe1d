// expect: a raw pointer
#include <prong/prong.hpp>

#include <vector>

int* find(int n);

void test(prong::Pool& pool) {
    pool.map(find, std::vector<int>{1});
}
