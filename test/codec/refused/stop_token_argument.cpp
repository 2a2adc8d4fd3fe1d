// expect: a std::stop_token does not reach another process: leave it out
#include "submit.hpp"

#include <stop_token>

int work(std::stop_token, int n) {
    return n;
}

void test() {
    submit(work, std::stop_token(), 3);
}
