// expect: mark it by prong::with_captures(lambda)
#include "submit.hpp"

void test() {
    int factor = 2;
    submit([&factor](auto n) { return factor * n; }, 1);
}
