// expect: a lambda with captures cannot cross to another process
#include "submit.hpp"

void test() {
    int factor = 2;
    submit([](auto f) { return f(1); }, [factor](int n) { return factor * n; });
}
