// expect: a function pointer cannot be the result of a task
#include "submit.hpp"

using Function = void (*)();
Function choose(int) {
    return nullptr;
}

void test() {
    submit(choose, 1);
}
