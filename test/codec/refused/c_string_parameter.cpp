// expect: or a std::string
#include "submit.hpp"

int count(const char* text) {
    return *text;
}

void test() {
    submit(count, "abc");
}
