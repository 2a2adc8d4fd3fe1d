#include "submit.hpp"

#include <string>

std::size_t length(const std::string& text) {
    return text.size();
}

void test() {
    submit(length, "abc");
}
