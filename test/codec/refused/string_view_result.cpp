// expect: a view cannot cross to another process
#include "submit.hpp"

#include <string_view>

std::string_view trim(std::string_view text) {
    return text;
}

void test() {
    submit(trim, "abc");
}
