// expect: a std::reference_wrapper (std::ref) cannot cross
#include "submit.hpp"

#include <functional>

void test() {
    int number = 1;
    submit([](auto value) { return value + 1; }, std::ref(number));
}
