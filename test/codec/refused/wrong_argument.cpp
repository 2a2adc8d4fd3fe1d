// expect: an argument cannot be converted to the type of its parameter
#include "submit.hpp"

#include <string>

int square(int n) {
    return n * n;
}

void test() {
    submit(square, std::string("abc"));
}
