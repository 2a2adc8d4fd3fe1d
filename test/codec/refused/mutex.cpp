// expect: neither trivially copyable nor an aggregate
#include "submit.hpp"

#include <mutex>

void lock(const std::mutex&) {}

void test() {
    std::mutex mutex;
    submit(lock, mutex);
}
