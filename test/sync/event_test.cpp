#include <prong/event.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Event;
using prong::Process;

TEST_CASE("an event ends all waits when it is set") {
    const Event event;
    CHECK_FALSE(event.is_set());
    std::vector<Process> waiting;
    for (int i = 0; i < 4; ++i) {
        waiting.emplace_back([&] {
            std::thread other([&] { event.wait(); });
            event.wait();
            other.join();
        });
    }
    for (Process& process : waiting) process.start();
    event.set();
    CHECK(event.is_set());
    for (Process& process : waiting) CHECK(process.join_for(patience));
    CHECK(event.wait());
    event.clear();
    CHECK_FALSE(event.is_set());
}

TEST_CASE("a wait for an event ends at its timeout") {
    const Event event;
    CHECK_FALSE(event.wait_for(0s));
    CHECK_FALSE(event.wait_for(3ms));
    event.set();
    CHECK(event.wait_for(0s));
    CHECK(event.wait_for(std::nullopt));
}

TEST_CASE("a wait sees an event that is set and cleared at once") {
    const Event event;
    const Event ready;
    const int rounds = how_often(50, 2000);
    for (int i = 0; i < rounds; ++i) {
        Process waiting([&] {
            ready.set();
            event.wait();
        });
        waiting.start();
        ready.wait();
        ready.clear();
        // Whether the other one sleeps by now cannot be seen; it sees some set after all.
        do {
            event.set();
            event.clear();
        } while (!waiting.join_for(1ms));
    }
}

TEST_CASE("an event survives the death of those who wait and who set") {
    const Event event;
    Process waiting([&] { event.wait(); });
    waiting.start();
    waiting.kill();
    Process setting([&] {
        for (;;) {
            event.set();
            event.clear();
        }
    });
    setting.start();
    CHECK(event.wait_for(patience));
    setting.kill();
    setting.join();
    event.set();
    CHECK(event.wait_for(patience));
}
