// expect: the number of arguments is not the number of the callable's
#include "submit.hpp"

#include <stop_token>

int work(std::stop_token, int n) {
    return n;
}

void test() {
    submit(work);
}
