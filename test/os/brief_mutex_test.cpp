#include "os/brief_mutex.hpp"

#include "support/catch.hpp"

#include <mutex>
#include <thread>
#include <vector>

using prong::os::BriefMutex;

TEST_CASE("one thread at a time holds a brief mutex, however long") {
    BriefMutex mutex;
    int count = 0;
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int n = 0; n < 10'000; ++n) {
                const std::lock_guard lock(mutex);
                if (n % 1000 == 0) std::this_thread::yield(); // the others must wait
                ++count;
            }
        });
    }
    threads.clear();
    CHECK(count == 40'000);
}
