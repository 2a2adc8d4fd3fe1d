// expect: an iterator cannot cross to another process
#include "submit.hpp"

#include <vector>

int first(std::vector<int>::iterator iterator) {
    return *iterator;
}

void test() {
    std::vector<int> numbers{1};
    submit(first, numbers.begin());
}
