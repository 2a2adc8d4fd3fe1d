// expect: a raw pointer cannot cross to another process
#include "submit.hpp"

#include <map>
#include <vector>

std::size_t count(const std::map<int, std::vector<int*>>& map) {
    return map.size();
}

void test() {
    submit(count, std::map<int, std::vector<int*>>{});
}
