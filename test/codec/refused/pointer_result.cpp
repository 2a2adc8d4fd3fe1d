// expect: a raw pointer cannot cross to another process
#include "submit.hpp"

const char* name(int) {
    return "abc";
}

void test() {
    submit(name, 1);
}
