// expect: the number of arguments is not the number of the callable's parameters
#include "submit.hpp"

int add(int a, int b) {
    return a + b;
}

void test() {
    submit(add, 1);
}
