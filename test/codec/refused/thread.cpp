// expect: neither trivially copyable nor an aggregate
#include "submit.hpp"

#include <thread>

void join(std::thread thread) {
    thread.join();
}

void test() {
    submit(join, std::thread());
}
