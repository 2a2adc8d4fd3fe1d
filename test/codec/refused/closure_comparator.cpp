// expect: a lambda with captures cannot cross to another process
// expect: FunctionObjectOf<std::set<int
#include "submit.hpp"

#include <set>

void test(bool down) {
    const auto less = [down](int a, int b) { return down ? a > b : a < b; };
    submit([](const auto& numbers) { return *numbers.begin(); },
           std::set<int, decltype(less)>(less));
}
