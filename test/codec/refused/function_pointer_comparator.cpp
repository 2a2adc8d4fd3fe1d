// expect: a comparison or hash that is, or holds, a function pointer
// expect: FunctionObjectOf<std::set<int
#include "submit.hpp"

#include <set>

using Less = bool (*)(int, int);

int first(const std::set<int, Less>& numbers) {
    return *numbers.begin();
}

void test(Less less) {
    submit(first, std::set<int, Less>(less));
}
