// expect: a lambda with captures cannot cross to another process
#include "submit.hpp"

void test() {
    int factor = 2;
    submit([factor](int n) { return factor * n; }, 1);
}
