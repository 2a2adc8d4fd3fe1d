// expect: lose the state of the container's comparison or hash
// expect: Descending
#include "submit.hpp"

#include <map>

struct Direction {
    bool down = false;
    bool operator()(int a, int b) const { return down ? a > b : a < b; }
};
struct Descending : std::map<int, int, Direction> {
    using map::map;
};

int first(const Descending& numbers) {
    return numbers.begin()->first;
}

void test() {
    submit(first, Descending(Direction{true}));
}
