// expect: the elements of a std::span<const T> parameter must be trivially copyable
#include "submit.hpp"

#include <span>
#include <string>
#include <vector>

std::size_t count(std::span<const std::string> texts) {
    return texts.size();
}

void test() {
    submit(count, std::vector<std::string>{"a"});
}
