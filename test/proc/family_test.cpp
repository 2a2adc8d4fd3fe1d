#include <prong/process.hpp>

#include "os/cpus.hpp"
#include "os/process.hpp"
#include "proc/helpers.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"
#include "support/forks.hpp"
#include "support/processes.hpp"

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace prong::test;
using prong::Process;

namespace {

std::ptrdiff_t thread_count() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"), {});
}

} // namespace

TEST_CASE("the daemon flag is set before the start") {
    Process process(sleep_for_ever);
    process.set_daemon(true);
    REQUIRE(process.daemon());
    process.start();
    REQUIRE_THROWS_AS(process.set_daemon(false), std::logic_error);
    REQUIRE(process.daemon());
}

TEST_CASE("a daemon may have no children, and its flag is the default there") {
    const auto code = [](bool daemon) {
        Process process([] {
            Process child([] {});
            const bool inherited = child.daemon();
            try {
                child.start();
                child.join();
            } catch (const std::logic_error&) {
                std::exit(inherited ? 2 : 3);
            }
            std::exit(inherited ? 4 : 5);
        });
        process.set_daemon(daemon);
        return run_to_exitcode(process);
    };
    REQUIRE(code(true) == 2);
    REQUIRE(code(false) == 5);
}

TEST_CASE("a daemon dies when its parent is killed") {
    const Channel channel;
    Process parent([&] {
        Process daemon([&] {
            channel.put(getpid());
            sleep_for_ever();
        });
        daemon.set_daemon(true);
        daemon.start();
        sleep_for_ever();
    });
    parent.start();
    const auto pidfd = prong::os::open_pidfd(channel.get<pid_t>());
    REQUIRE_FALSE(has_ended(pidfd.get()));
    parent.kill();
    parent.join();
    REQUIRE(ends_soon(pidfd.get()));
}

TEST_CASE("a daemon outlives the thread that started it, and still dies with the parent") {
    const Channel channel;
    const Channel running;
    const Channel ended_thread;
    Process parent([&] {
        Process daemon([&] {
            channel.put(getpid());
            running.put('r');
            ended_thread.get<char>();
            for (;;) {
                channel.put(getppid()); // still there, after the thread's end
                ended_thread.get<char>();
            }
        });
        daemon.set_daemon(true);
        std::thread([&] {
            daemon.start();
            running.get<char>(); // it has armed itself
        }).join();
        // join may return a moment before the kernel lets the thread go
        if (!eventually([] { return thread_count() == 1; })) std::abort();
        ended_thread.put('e');
        sleep_for_ever();
    });
    parent.start();
    const auto pidfd = prong::os::open_pidfd(channel.get<pid_t>());
    REQUIRE(channel.get<pid_t>() == parent.pid());
    // By a second answer it has received the signal of the thread's end.
    ended_thread.put('a');
    REQUIRE(channel.get<pid_t>() == parent.pid());
    REQUIRE_FALSE(has_ended(pidfd.get()));
    parent.kill();
    parent.join();
    REQUIRE(ends_soon(pidfd.get()));
}

TEST_CASE("at the end of the program daemons are killed and the others waited for") {
    const auto result = run_in_child([]() -> int {
        const Channel channel;
        auto* const other = new Process([&] { // leaked, as a global is
            channel.get<char>();
            std::cout << "the other one has ended\n";
        });
        auto* const daemon = new Process([&] {
            for (;;) pause();
        });
        daemon->set_daemon(true);
        daemon->start();
        other->start();
        std::cout << "the parent ends\n" << std::flush;
        channel.put('g');
        std::exit(0);
    });
    REQUIRE(result.exitcode == 0);
    REQUIRE(result.out == "the parent ends\nthe other one has ended\n");
}

TEST_CASE("a child that ends takes its own children along in the same way") {
    const Channel channel;
    Process process([&] {
        auto* const leaked = new Process([&] { channel.put(1); });
        leaked->start();
    });
    REQUIRE(run_to_exitcode(process) == 0);
    REQUIRE(channel.get<int>() == 1);
}

TEST_CASE("in a forked child the parent's processes are inert") {
    const Channel channel;
    Process process(report_and_sleep, std::cref(channel));
    process.set_daemon(true);
    process.start();
    channel.get<char>();
    const auto throws = [](auto call) {
        try {
            call();
        } catch (const std::logic_error&) {
            return true;
        }
        return false;
    };
    const auto check = [&]() -> int {
        const bool inert = throws([&] { process.join(); }) && throws([&] { process.kill(); }) &&
                           throws([&] { (void)process.is_alive(); }) &&
                           throws([&] { (void)process.exitcode(); }) &&
                           throws([&] { process.close(); }) && prong::active_children().empty() &&
                           process.name() != "";
        { const Process destroyed(std::move(process)); }
        return inert ? 10 : 11;
    };
    SECTION("by a Process") {
        REQUIRE(exitcode_of([&] { std::exit(check()); }) == 10);
    }
    SECTION("by another call") {
        for (const WayToFork& way : ways_to_fork) {
            INFO(way.name);
            const pid_t child = way.fork();
            if (child == 0) std::exit(check());
            REQUIRE(end_of(child) == "exit 10");
        }
    }
    REQUIRE(process.is_alive());
}

TEST_CASE("a child that is forked while another thread asks for its family does not hang") {
    Process process(sleep_for_ever);
    process.set_daemon(true);
    process.start();
    std::atomic<bool> asks = false;
    std::jthread other([&](const std::stop_token& over) {
        while (!over.stop_requested()) {
            static_cast<void>(prong::active_children());
            asks = true;
        }
    });
    REQUIRE(eventually([&] { return asks.load(); }));
    for (int i = 0; i < 200; ++i) {
        const WayToFork& way = ways_to_fork[static_cast<std::size_t>(i) % std::size(ways_to_fork)];
        INFO(way.name);
        const pid_t child = way.fork();
        if (child == 0) {
            alarm(30); // instead of hanging
            const bool right =
                prong::current_process().pid() == getpid() && prong::active_children().empty();
            _exit(right ? 10 : 11);
        }
        REQUIRE(end_of(child) == "exit 10");
    }
}

TEST_CASE("a process created by the parent cannot be started in the child") {
    Process process([] {});
    REQUIRE(exitcode_of([&] {
                try {
                    process.start();
                } catch (const std::logic_error&) {
                    std::exit(10);
                }
            }) == 10);
    REQUIRE(run_to_exitcode(process) == 0);
}

TEST_CASE("the current process knows itself") {
    const auto current = prong::current_process();
    REQUIRE(current.name() == "MainProcess");
    REQUIRE(current.pid() == getpid());
    REQUIRE(current.is_alive());
    REQUIRE_FALSE(current.daemon());
    REQUIRE_FALSE(prong::parent_process().has_value());
    REQUIRE(current == prong::current_process());
    REQUIRE_THROWS_AS(current.join(), std::logic_error);
    REQUIRE_THROWS_AS(current.kill(), std::logic_error);

    Process process([&] {
        const auto here = prong::current_process();
        const auto parent = prong::parent_process();
        const bool right = here.name() == "child" && here.pid() == getpid() && here.is_alive() &&
                           here.daemon() && parent == current && parent->pid() == getppid() &&
                           parent->name() == "MainProcess" && parent->is_alive();
        std::exit(right ? 10 : 11);
    });
    process.set_name("child");
    process.set_daemon(true);
    REQUIRE(run_to_exitcode(process) == 10);
}

TEST_CASE("a process sees the end of its parent") {
    const Channel channel;
    const Channel answers;
    Process parent([&] {
        Process child([&] {
            const auto above = prong::parent_process().value();
            answers.put(above.is_alive() && !above.join_for(0s));
            above.join();
            answers.put(above.is_alive());
            answers.put(getpid());
            channel.get<char>();
        });
        child.start();
        sleep_for_ever();
    });
    parent.start();
    REQUIRE(answers.get<bool>());
    parent.kill();
    parent.join();
    REQUIRE_FALSE(answers.get<bool>());
    const auto pidfd = prong::os::open_pidfd(answers.get<pid_t>());
    REQUIRE_FALSE(has_ended(pidfd.get())); // it is no daemon
    channel.put('g');
    REQUIRE(ends_soon(pidfd.get()));
}

TEST_CASE("active children are those that have been started and run") {
    REQUIRE(prong::active_children().empty());
    const Channel channel;
    std::vector<Process> processes;
    for (int i = 0; i < 3; ++i) processes.emplace_back([&] { channel.get<char>(); });
    REQUIRE(prong::active_children().empty());
    for (Process& process : processes) process.start();
    const auto active = prong::active_children();
    REQUIRE(active.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
        REQUIRE(active[i].pid() == processes[i].pid());
        REQUIRE(active[i].name() == processes[i].name());
        REQUIRE(active[i].is_alive());
    }
    for (int i = 0; i < 3; ++i) channel.put('g');
    for (const auto& child : active) child.join();
    REQUIRE(prong::active_children().empty());
    REQUIRE(active[0].exitcode() == 0);
    REQUIRE(processes[0].exitcode() == 0);
}

TEST_CASE("active_children collects those that have ended") {
    Process process([] {});
    process.start();
    REQUIRE(ends_soon(process.sentinel()));
    REQUIRE(prong::active_children().empty());
    REQUIRE(prong::test::children_of(getpid()).empty());
}

TEST_CASE("processes start processes, each joined by its own parent") {
    const Channel channel;
    struct Tree {
        const Channel& channel;
        void operator()(int number, int depth) const {
            channel.put(number);
            if (depth == 0) return;
            for (int i = 0; i < 2; ++i) {
                Process process(*this, number * 10 + i, depth - 1);
                process.start();
                process.join();
            }
        }
    };
    Process root(Tree{channel}, 1, 2);
    REQUIRE(run_to_exitcode(root) == 0);
    std::vector<int> numbers;
    for (int i = 0; i < 7; ++i) numbers.push_back(channel.get<int>());
    REQUIRE(numbers == std::vector{1, 10, 100, 101, 11, 110, 111});
}

TEST_CASE("cpu_count counts the CPUs of the machine") {
    REQUIRE(prong::cpu_count() >= 1);
    REQUIRE(prong::cpu_count() >= static_cast<int>(prong::os::available_cpus()));
}
