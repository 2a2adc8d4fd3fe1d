// expect: an error callback takes a std::exception_ptr, a const std::exception&, or nothing
#include <prong/prong.hpp>

#include <string>

int square(int n);

void test(prong::Pool& pool) {
    pool.apply_async({.error = [](const std::string&) {}}, square, 3);
}
