// expect: a raw pointer cannot cross to another process
#include "submit.hpp"

int first(const int* numbers) {
    return *numbers;
}

void test(const int* numbers) {
    submit(first, numbers);
}
