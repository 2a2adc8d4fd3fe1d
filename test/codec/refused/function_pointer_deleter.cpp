// expect: a std::unique_ptr with a deleter that has state, or is a function pointer
// expect: DeleterOf<std::unique_ptr<int
#include "submit.hpp"

#include <memory>
#include <vector>

using Pointer = std::unique_ptr<int, void (*)(int*)>;

std::vector<Pointer> make(int) {
    return {};
}

void test() {
    submit(make, 1);
}
