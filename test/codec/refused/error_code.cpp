// expect: the compiler cannot see whether this class or union holds pointers
// expect: std::error_code
#include "submit.hpp"

#include <system_error>

std::error_code check(int) {
    return {};
}

void test() {
    submit(check, 1);
}
