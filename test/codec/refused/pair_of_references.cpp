// expect: a reference cannot cross to another process
// expect: std::pair<const int
#include "submit.hpp"

#include <utility>

void print(std::pair<const int&, int&>) {}

void test() {
    int number = 1;
    submit(print, std::pair<const int&, int&>(number, number));
}
