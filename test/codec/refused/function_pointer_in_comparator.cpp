// expect: a comparison or hash that is, or holds, a function pointer
// expect: "By::less"
// expect: FunctionObjectOf<std::multimap<int
#include "submit.hpp"

#include <map>
#include <vector>

struct By {
    bool (*less)(int, int);
    bool operator()(int a, int b) const { return less(a, b); }
};
struct Values {
    std::vector<std::multimap<int, int, By>> maps;
};

Values make(int) {
    return {};
}

void test() {
    submit(make, 1);
}
