#include "os/fork_depth.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/forks.hpp"
#include "support/seccomp.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <set>
#include <thread>
#include <vector>

using prong::os::fork_depth;
using namespace prong::test;

namespace {

void check_children() {
    const unsigned here = fork_depth();
    for (const WayToFork& way : ways_to_fork) {
        INFO(way.name);
        const pid_t child = way.fork();
        if (child == 0) _exit(fork_depth() > here && fork_depth() == fork_depth() ? 0 : 1);
        CHECK(end_of(child) == "exit 0");
        CHECK(fork_depth() == here);
    }
}

} // namespace

TEST_CASE("a child has another depth than its parent, however it was forked") {
    check_children();
}

TEST_CASE("a grandchild has another depth than both, also when its parent has not asked") {
    const unsigned here = fork_depth();
    for (const WayToFork& outer : ways_to_fork) {
        for (const WayToFork& inner : ways_to_fork) {
            for (const bool parent_asks : {true, false}) {
                INFO(outer.name << ", " << inner.name << ", asks: " << parent_asks);
                const pid_t child = outer.fork();
                if (child == 0) {
                    const unsigned between = parent_asks ? fork_depth() : here;
                    const pid_t grandchild = inner.fork();
                    if (grandchild == 0)
                        _exit(fork_depth() != here && fork_depth() != between ? 0 : 1);
                    _exit(end_of(grandchild) == "exit 0" ? 0 : 2);
                }
                CHECK(end_of(child) == "exit 0");
            }
        }
    }
}

TEST_CASE("the threads of a child that ask at once get the same answer") {
    const unsigned here = fork_depth();
    const pid_t child = fork();
    if (child == 0) {
        std::array<unsigned, 8> answers{};
        std::atomic<bool> go = false;
        std::vector<std::jthread> threads;
        for (unsigned& answer : answers) {
            threads.emplace_back([&] {
                go.wait(false);
                answer = fork_depth();
            });
        }
        go = true;
        go.notify_all();
        threads.clear();
        const std::set<unsigned> different(answers.begin(), answers.end());
        _exit(different.size() == 1 && !different.contains(here) ? 0 : 1);
    }
    CHECK(end_of(child) == "exit 0");
}

TEST_CASE("without the page that the kernel clears", "[.]") {
    forbid(SYS_madvise, EINVAL);
    check_children();
}

TEST_CASE("where the kernel clears no page, a child is detected by its number") {
    const ChildResult result = run_self({"without the page that the kernel clears"});
    INFO(result.out);
    CHECK(result.exitcode == 0);
}
