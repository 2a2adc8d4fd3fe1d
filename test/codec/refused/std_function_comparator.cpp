// expect: a std::function cannot cross to another process
// expect: FunctionObjectOf<std::set<int
#include "submit.hpp"

#include <functional>
#include <set>

using Less = std::function<bool(int, int)>;

int first(const std::set<int, Less>& numbers) {
    return *numbers.begin();
}

void test(const Less& less) {
    submit(first, std::set<int, Less>(less));
}
