// expect: a std::span<T> would change a copy
#include "submit.hpp"

#include <span>
#include <vector>

void clear(std::span<int> numbers) {
    numbers[0] = 0;
}

void test() {
    std::vector<int> numbers(3);
    submit(clear, numbers);
}
