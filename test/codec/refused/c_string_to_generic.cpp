// expect: a raw pointer cannot cross to another process
#include "submit.hpp"

void test(const char* text) {
    submit([](auto value) { return *value; }, text);
}
