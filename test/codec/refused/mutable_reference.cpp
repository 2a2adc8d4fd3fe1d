// expect: a parameter that is a non-const reference would change a copy
#include "submit.hpp"

void increment(int& number) {
    ++number;
}

void test() {
    int number = 1;
    submit(increment, number);
}
