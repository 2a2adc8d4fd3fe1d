// expect: a view cannot cross to another process
#include "submit.hpp"

#include <span>

std::span<const int> same(std::span<const int> numbers) {
    return numbers;
}

void test() {
    submit(same, std::span<const int>());
}
