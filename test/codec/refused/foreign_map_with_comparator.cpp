// expect: lose the state of the container's comparison or hash
// expect: flat_map
#include "submit.hpp"

#include <boost/container/flat_map.hpp>

struct Direction {
    bool down = false;
    bool operator()(int a, int b) const { return down ? a > b : a < b; }
};
using Map = boost::container::flat_map<int, int, Direction>;

int first(const Map& numbers) {
    return numbers.begin()->first;
}

void test() {
    submit(first, Map(Direction{true}));
}
