// expect: a reference cannot cross to another process
// expect: Around
#include "submit.hpp"

#include <set>

struct Around {
    const int& center;
    bool operator()(int a, int b) const { return center - a < center - b; }
};

void print(const std::set<int, Around>&) {}

void test(const std::set<int, Around>& set) {
    submit(print, set);
}
