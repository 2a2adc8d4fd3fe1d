#include "os/futex.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"
#include "support/processes.hpp"
#include "support/shared.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <vector>

using namespace prong::os;
using namespace prong::test;
using namespace std::chrono_literals;

namespace {

using Clock = std::chrono::steady_clock;
using Words = std::array<FutexWord, 3>;

/// Forks a child that runs `body` and then exits with 0.
template <typename Body>
pid_t fork_child(Body body) {
    const pid_t pid = fork();
    if (pid == 0) {
        body();
        _exit(0);
    }
    return pid;
}

int wait_for_exit(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool is_asleep(pid_t pid) {
    for (const ProcessInfo& child : children_of(getpid())) {
        if (child.pid == pid) return child.state == 'S';
    }
    return false;
}

} // namespace

TEST_CASE("A wait returns at once when the word holds something else") {
    const FutexWord word{1};
    const auto start = Clock::now();
    futex_wait(word, 0, 60s);
    futex_wait(word, 0, -1ns);
    CHECK(Clock::now() - start < 30s);
}

TEST_CASE("A wait ends after its timeout and not before") {
    const FutexWord word{0};
    for (const auto timeout : {0ms, 1ms, 50ms}) {
        const auto start = Clock::now();
        futex_wait(word, 0, timeout);
        CHECK(Clock::now() - start >= timeout);
    }
}

TEST_CASE("A wait's timeout may be longer than a second") {
    const FutexWord word{0};
    const auto start = Clock::now();
    futex_wait(word, 0, 1100ms);
    CHECK(Clock::now() - start >= 1100ms);
}

TEST_CASE("A wake reaches a waiter in another process") {
    const Shared<Words> memory;
    Words& words = *memory;
    const pid_t child = fork_child([&] {
        while (words[0].load() == 0) futex_wait(words[0], 0, -1ns);
    });
    CHECK(eventually([&] { return is_asleep(child); }));
    words[0] = 1;
    futex_wake(words[0], 1);
    CHECK(wait_for_exit(child) == 0);
}

TEST_CASE("A wake reaches at most as many as it says, or everyone") {
    const Shared<Words> memory;
    Words& words = *memory;
    std::array<pid_t, 3> children{};
    for (pid_t& child : children) {
        child = fork_child([&] {
            while (words[0].load() == 0) {
                futex_wait(words[0], 0, -1ns);
                words[1].fetch_add(1); // counts the returns
            }
        });
    }
    for (const pid_t child : children) CHECK(eventually([&] { return is_asleep(child); }));
    futex_wake(words[0], 1);
    CHECK(eventually([&] { return words[1].load() == 1; }));
    for (const pid_t child : children) CHECK(eventually([&] { return is_asleep(child); }));
    CHECK(words[1].load() == 1);
    words[0] = 1;
    futex_wake(words[0], everyone);
    for (const pid_t child : children) CHECK(wait_for_exit(child) == 0);
    CHECK(words[1].load() == 4);
}

TEST_CASE("A wake succeeds after a waiter was killed") {
    const Shared<Words> memory;
    Words& words = *memory;
    const pid_t victim = fork_child([&] { futex_wait(words[0], 0, -1ns); });
    const pid_t other = fork_child([&] {
        while (words[0].load() == 0) futex_wait(words[0], 0, -1ns);
    });
    CHECK(eventually([&] { return is_asleep(victim) && is_asleep(other); }));
    kill(victim, SIGKILL);
    CHECK(wait_for_exit(victim) == -SIGKILL);
    words[0] = 1;
    futex_wake(words[0], 1);
    CHECK(wait_for_exit(other) == 0);
}

TEST_CASE("A wait on several words ends when any of them is woken") {
    const std::size_t woken = GENERATE(0U, 1U, 2U);
    const Shared<Words> memory;
    Words& words = *memory;
    const pid_t child = fork_child([&] {
        const std::array<FutexWaiter, 3> waiters{{{&words[0], 0}, {&words[1], 0}, {&words[2], 0}}};
        while (words[woken].load() == 0) futex_wait_any(waiters, 60s);
    });
    CHECK(eventually([&] { return is_asleep(child); }));
    words[woken] = 1;
    futex_wake(words[woken], 1);
    CHECK(wait_for_exit(child) == 0);
}

TEST_CASE("A wait on several words returns at once when one of them holds something else") {
    const FutexWord first{0};
    const FutexWord second{9};
    const std::array<FutexWaiter, 2> waiters{{{&first, 0}, {&second, 0}}};
    const auto start = Clock::now();
    futex_wait_any(waiters, 60s);
    CHECK(Clock::now() - start < 30s);
}

TEST_CASE("A wait on several words ends after its timeout") {
    const FutexWord word{0};
    const std::array<FutexWaiter, 2> waiters{{{&word, 0}, {&word, 0}}};
    const auto start = Clock::now();
    while (Clock::now() - start < 20ms) futex_wait_any(waiters, 20ms);
    CHECK(Clock::now() - start < 30s);
}

TEST_CASE("A wait on more words than the kernel takes still ends") {
    const FutexWord word{0};
    const std::vector<FutexWaiter> waiters(200, FutexWaiter{&word, 0});
    const auto start = Clock::now();
    futex_wait_any(waiters, 5ms);
    CHECK(Clock::now() - start < 30s);
}
