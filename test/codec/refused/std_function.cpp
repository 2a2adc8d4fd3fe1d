// expect: a std::function cannot cross to another process
#include "submit.hpp"

#include <functional>

void test() {
    submit(std::function<int(int)>([](int n) { return n; }), 1);
}
