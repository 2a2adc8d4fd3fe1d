// expect: the callable cannot be called with copies of these arguments
#include "submit.hpp"

void test() {
    submit([](auto& number) { ++number; }, 1);
}
