#include <prong/process.hpp>

#include "proc/helpers.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/processes.hpp"
#include "support/sanitizer.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace prong::test;
using prong::Process;

namespace {

bool is_active(int pid) {
    const auto children = prong::active_children();
    return std::ranges::any_of(children, [&](const auto& child) { return child.pid() == pid; });
}

} // namespace

TEST_CASE("a process runs a function with its arguments in another process") {
    const Channel channel;
    Process process(
        [](const Channel& out, int number, const std::string& text) {
            out.put(number + static_cast<int>(text.size()));
            out.put(getpid());
        },
        std::cref(channel), 40, "ab");
    REQUIRE(process.pid() == 0);
    process.start();
    REQUIRE(channel.get<int>() == 42);
    REQUIRE(channel.get<pid_t>() == process.pid());
    REQUIRE(process.pid() != getpid());
    process.join();
    REQUIRE(process.exitcode() == 0);
}

TEST_CASE("a process takes what std::thread takes") {
    struct Counter {
        int value = 0;
        void add(int more) { value += more; }
    };
    const Channel channel;
    SECTION("a function that can only be moved, and such an argument") {
        Process process([&channel, held = std::make_unique<int>(1)](
                            std::unique_ptr<int> given) { channel.put(*held + *given); },
                        std::make_unique<int>(2));
        process.start();
        REQUIRE(channel.get<int>() == 3);
    }
    SECTION("a member function and an object") {
        Counter counter;
        Process process(&Counter::add, &counter, 5);
        REQUIRE(run_to_exitcode(process) == 0);
        REQUIRE(counter.value == 0); // the child has added to its own copy
    }
    SECTION("a reference, of which the child has its own copy") {
        int number = 1;
        Process process(
            [&channel](int& mine) {
                mine += 1;
                channel.put(mine);
            },
            std::ref(number));
        process.start();
        REQUIRE(channel.get<int>() == 2);
        process.join();
        REQUIRE(number == 1);
    }
    SECTION("not what cannot be called") {
        STATIC_REQUIRE_FALSE(std::is_constructible_v<Process, int>);
        STATIC_REQUIRE_FALSE(std::is_constructible_v<Process, void (*)(int&), int>);
        STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Process>);
    }
}

TEST_CASE("a derived class overrides run") {
    class Adder : public Process {
    public:
        Adder(const Channel& out, int a, int b) : out_(out), a_(a), b_(b) {}
        void run() override {
            out_.put(a_ + b_);
            out_.put(pid() == getpid());
        }

    private:
        const Channel& out_;
        int a_;
        int b_;
    };
    const Channel channel;
    Adder adder(channel, 1, 2);
    adder.start();
    REQUIRE(channel.get<int>() == 3);
    REQUIRE(channel.get<bool>());
    adder.join();
    REQUIRE(adder.exitcode() == 0);

    SECTION("and stays itself when it is moved") {
        Adder first(channel, 3, 4);
        Adder second(std::move(first));
        second.start();
        REQUIRE(channel.get<int>() == 7);
    }
}

TEST_CASE("a process with nothing to run ends at once") {
    Process process;
    REQUIRE(run_to_exitcode(process) == 0);
}

TEST_CASE("run called directly runs here") {
    pid_t ran_in = 0;
    Process process([&] { ran_in = getpid(); });
    process.run();
    REQUIRE(ran_in == getpid());
}

TEST_CASE("the exit code says how a process ended") {
    REQUIRE(exitcode_of([] {}) == 0);
    REQUIRE(exitcode_of([] { return 5; }) == 0); // what the function returns is ignored
    REQUIRE(exitcode_of([] { std::exit(7); }) == 7);
    REQUIRE(exitcode_of([] { _exit(255); }) == 255);
    REQUIRE(exitcode_of([] { std::abort(); }) == -SIGABRT);
    REQUIRE(exitcode_of([] { raise(SIGSEGV); }) == -SIGSEGV);
    REQUIRE(exitcode_of([] { std::thread([] { std::exit(3); }).join(); }) == 3);
}

TEST_CASE("exit in the child runs none of the parent's exit handlers") {
    const auto result = run_in_child([] {
        std::atexit([] { std::cout << "handler of " << getpid() << "\n"; });
        std::cout << "parent\n"; // not flushed yet: the child must not write it again
        const int code = exitcode_of([] {
            std::atexit([] { std::cout << "the child's own handler\n"; });
            std::exit(4);
        });
        return code;
    });
    REQUIRE(result.exitcode == 4);
    REQUIRE(result.out == "parent\nthe child's own handler\n");
}

TEST_CASE("an exception that escapes is printed on stderr and gives exit code 1") {
    const auto result = run_in_child([] {
        Process process([] {
            try {
                throw std::out_of_range("no such key");
            } catch (...) {
                std::throw_with_nested(std::runtime_error("cannot load"));
            }
        });
        process.set_name("Loader");
        return run_to_exitcode(process);
    });
    REQUIRE(result.exitcode == 1);
    INFO(result.err);
    REQUIRE(result.err.starts_with("prong: Loader (pid "));
    REQUIRE(result.err.ends_with("std::runtime_error: cannot load\n"
                                 "  caused by std::out_of_range: no such key\n"));
    REQUIRE(run_in_child([] { return exitcode_of([] { throw 5; }); }).err.ends_with(": int: 5\n"));
}

TEST_CASE("a process that ends by an exception with very many nested in it prints all") {
    const auto result = run_in_child([] {
        return exitcode_of([] {
            std::exception_ptr chain;
            for (int i = 0; i < 100'000; ++i) {
                try {
                    if (chain) std::rethrow_exception(chain);
                    throw std::runtime_error("innermost");
                } catch (...) {
                    try {
                        std::throw_with_nested(std::runtime_error("outer"));
                    } catch (...) {
                        chain = std::current_exception();
                    }
                }
            }
            std::rethrow_exception(chain);
        });
    });
    REQUIRE(result.exitcode == 1);
    REQUIRE(result.err.ends_with("caused by std::runtime_error: innermost\n"));
}

TEST_CASE("a process that has not been started has no end") {
    Process process([] {});
    REQUIRE_FALSE(process.is_alive());
    REQUIRE_FALSE(process.exitcode().has_value());
    REQUIRE(process.pid() == 0);
    REQUIRE_FALSE(process.daemon());
    REQUIRE_THROWS_AS(process.join(), std::logic_error);
    REQUIRE_THROWS_AS(process.join_for(0s), std::logic_error);
    REQUIRE_THROWS_AS(process.terminate(), std::logic_error);
    REQUIRE_THROWS_AS(process.sentinel(), std::logic_error);
}

TEST_CASE("a process is started once") {
    Process process([] {});
    process.start();
    REQUIRE_THROWS_AS(process.start(), std::logic_error);
    process.join();
    REQUIRE_THROWS_AS(process.start(), std::logic_error);
    process.join(); // again: returns at once
    REQUIRE(process.join_for(0s));
}

TEST_CASE("a running process is ended by a signal") {
    const Channel channel;
    Process process(report_and_sleep, std::cref(channel));
    process.start();
    channel.get<char>();
    REQUIRE(process.is_alive());
    REQUIRE_FALSE(process.exitcode().has_value());
    REQUIRE(is_active(process.pid()));
    REQUIRE_FALSE(process.join_for(0s));
    REQUIRE_FALSE(process.join_for(-1s));
    REQUIRE_FALSE(process.join_for(5ms));
    int signal = 0;
    SECTION("terminate sends SIGTERM") {
        process.terminate();
        signal = SIGTERM;
    }
    SECTION("kill sends SIGKILL") {
        process.kill();
        signal = SIGKILL;
    }
    SECTION("interrupt sends SIGINT") {
        process.interrupt();
        signal = SIGINT;
    }
    process.join();
    REQUIRE_FALSE(process.is_alive());
    REQUIRE_FALSE(is_active(process.pid()));
    REQUIRE(process.exitcode() == -signal);
    process.kill(); // no error, and no signal to another process
}

TEST_CASE("a signal right after start finds the child") {
    for (int i = 0; i < 20; ++i) {
        Process process(sleep_for_ever);
        process.start();
        process.terminate();
        process.join();
        REQUIRE(process.exitcode() == -SIGTERM);
    }
}

TEST_CASE("the child's signals are as after a fresh start") {
    std::signal(SIGINT, SIG_IGN);
    sigset_t some;
    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &some, nullptr);
    const int code = exitcode_of([] {
        sigset_t blocked;
        pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
        struct sigaction action {};
        sigaction(SIGINT, nullptr, &action);
        std::exit(sigisemptyset(&blocked) != 0 && action.sa_handler == SIG_DFL ? 10 : 11);
    });
    pthread_sigmask(SIG_UNBLOCK, &some, nullptr);
    std::signal(SIGINT, SIG_DFL);
    REQUIRE(code == 10);
}

TEST_CASE("join_for with a longer time than the clock has waits for the end") {
    Process process([] {});
    process.start();
    REQUIRE(process.join_for(std::chrono::hours::max()));
}

TEST_CASE("the sentinel becomes readable at the end") {
    const Channel channel;
    Process process([&] { channel.get<char>(); });
    process.start();
    REQUIRE_FALSE(has_ended(process.sentinel()));
    channel.put('g');
    REQUIRE(ends_soon(process.sentinel()));
    process.join();
    REQUIRE(has_ended(process.sentinel()));
}

TEST_CASE("close gives up a process that has ended") {
    const Channel channel;
    Process process(report_and_sleep, std::cref(channel));
    process.start();
    REQUIRE_THROWS_AS(process.close(), std::logic_error);
    REQUIRE(process.is_alive());
    process.kill();
    process.join();
    process.close();
    process.close();
    REQUIRE_THROWS_AS(process.join(), std::logic_error);
    REQUIRE_THROWS_AS(process.is_alive(), std::logic_error);
    REQUIRE_THROWS_AS(process.exitcode(), std::logic_error);
    REQUIRE_THROWS_AS(process.terminate(), std::logic_error);
    REQUIRE_THROWS_AS(process.sentinel(), std::logic_error);
    REQUIRE_THROWS_AS(process.pid(), std::logic_error);
    REQUIRE_THROWS_AS(process.start(), std::logic_error);

    Process unused;
    unused.close();
    REQUIRE_THROWS_AS(unused.start(), std::logic_error);
}

TEST_CASE("processes are named after their number") {
    const auto result = run_in_child([] {
        const Process first;
        Process second;
        std::cout << first.name() << " " << second.name() << "\n";
        second.set_name("other");
        std::cout << second.name() << "\n";
        Process nested([] {
            const Process inner;
            std::cout << prong::current_process().name() << " " << inner.name() << "\n";
        });
        return run_to_exitcode(nested);
    });
    REQUIRE(result.exitcode == 0);
    REQUIRE(result.out == "Process-1 Process-2\nother\nProcess-3 Process-3:1\n");
}

TEST_CASE("processes live in containers") {
    std::vector<Process> processes;
    for (int i = 0; i < 4; ++i) processes.emplace_back([i] { std::exit(i); });
    for (Process& process : processes) process.start();
    processes.emplace_back(); // those that run are moved
    processes.pop_back();
    for (Process& process : processes) process.join();
    for (int i = 0; i < 4; ++i) REQUIRE(processes[static_cast<std::size_t>(i)].exitcode() == i);
}

TEST_CASE("a moved-from process refuses everything") {
    Process process(sleep_for_ever);
    process.start();
    Process other(std::move(process));
    REQUIRE_THROWS_AS(process.join(), std::logic_error); // NOLINT: that is the test
    REQUIRE_THROWS_AS(process.start(), std::logic_error);
    other.kill();
    other.join();
    REQUIRE(other.exitcode() == -SIGKILL);
    process = std::move(other);
    REQUIRE(process.exitcode() == -SIGKILL);
}

TEST_CASE("assignment ends the process that was there") {
    Process process(sleep_for_ever);
    process.set_daemon(true);
    process.start();
    const int pid = process.pid();
    process = Process([] {});
    REQUIRE_FALSE(prong::test::is_running(pid));
    REQUIRE(process.pid() == 0);
}

TEST_CASE("the destructor joins a running process") {
    const Channel channel;
    {
        Process process([&] { channel.put(1); });
        process.start();
    }
    REQUIRE(prong::active_children().empty());
    REQUIRE(channel.get<int>() == 1);
}

TEST_CASE("the destructor kills a running daemon") {
    int pid = 0;
    {
        Process process(sleep_for_ever);
        process.set_daemon(true);
        process.start();
        pid = process.pid();
    }
    REQUIRE_FALSE(prong::test::is_running(pid));
}

TEST_CASE("what a process was given is destroyed in the parent when it has started") {
    const auto held = std::make_shared<int>(1);
    Process process([](const std::shared_ptr<int>&) { sleep_for_ever(); }, held);
    REQUIRE(held.use_count() == 2);
    process.start();
    REQUIRE(held.use_count() == 1);
    process.kill();
}

TEST_CASE("a hundred processes are started and then joined") {
    const Channel channel;
    std::vector<Process> processes;
    for (int i = 0; i < 100; ++i) processes.emplace_back([&, i] { channel.put(i); });
    for (Process& process : processes) process.start();
    for (Process& process : processes) process.join();
    std::set<int> numbers;
    for (int i = 0; i < 100; ++i) numbers.insert(channel.get<int>());
    REQUIRE(numbers.size() == 100);
    for (const Process& process : processes) REQUIRE(process.exitcode() == 0);
}

TEST_CASE("many processes killed at once leave the same exit code") {
    std::vector<Process> processes;
    for (int i = 0; i < 20; ++i) processes.emplace_back(sleep_for_ever);
    for (Process& process : processes) process.start();
    for (Process& process : processes) process.terminate();
    for (Process& process : processes) process.join();
    for (const Process& process : processes) REQUIRE(process.exitcode() == -SIGTERM);
}

TEST_CASE("processes are started and joined from several threads at once") {
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&right, t] {
            for (int i = 0; i < 10; ++i) {
                if (exitcode_of([=] { std::exit(10 * t + i); }) == 10 * t + i) ++right;
                (void)prong::active_children();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(right == 40);
}

TEST_CASE("several threads may wait for one process") {
    const Channel channel;
    Process process([&] {
        channel.get<char>();
        std::exit(6);
    });
    process.start();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            process.join();
            if (process.exitcode() == 6) ++right;
        });
    }
    channel.put('g');
    for (std::thread& thread : threads) thread.join();
    REQUIRE(right == 4);
}

TEST_CASE("a process can be ended while another thread waits for it") {
    Process process(sleep_for_ever);
    process.start();
    std::thread waiter([&] { process.join(); });
    process.terminate();
    waiter.join();
    REQUIRE(process.exitcode() == -SIGTERM);
}

// The host program has its own ideas about children: the end is seen all the same, and the exit
// code is right or, where the kernel does not remember it, known to be unknown.

TEST_CASE("a program that ignores SIGCHLD still sees the end") {
    const auto result = run_in_child([] {
        std::signal(SIGCHLD, SIG_IGN);
        for (int i = 0; i < 20; ++i) {
            Process process([] { std::exit(7); });
            const int code = run_to_exitcode(process);
            if (code != 7 && code != Process::unknown_exitcode) return 1;
            if (process.is_alive() || !prong::active_children().empty()) return 2;
            process.kill();
        }
        return 0;
    });
    REQUIRE(result.exitcode == 0);
    REQUIRE(result.err.empty());
}

TEST_CASE("a program that collects every child itself still sees the end") {
    const auto result = run_in_child([] {
        std::atomic<bool> stop = false;
        std::thread thief([&] {
            while (!stop) waitpid(-1, nullptr, WNOHANG);
        });
        int wrong = 0;
        for (int i = 0; i < 20; ++i) {
            const int code = exitcode_of([] { std::exit(7); });
            if (code != 7 && code != Process::unknown_exitcode) ++wrong;
        }
        stop = true;
        thief.join();
        return wrong;
    });
    REQUIRE(result.exitcode == 0);
    REQUIRE(result.err.empty());
}

TEST_CASE("without descriptors start fails and can be repeated") {
    if (address_sanitizer) return;
    const auto result = run_in_child([] {
        Process process([] { std::exit(5); });
        std::vector<int> taken;
        for (int fd = dup(0); fd >= 0; fd = dup(0)) taken.push_back(fd);
        for (std::size_t free = 0; free < 3; ++free) {
            try {
                process.start();
                return 1;
            } catch (const std::system_error&) {
            }
            if (process.is_alive() || !prong::active_children().empty()) return 2;
            close(taken[free]);
        }
        return run_to_exitcode(process);
    });
    INFO(result.err);
    REQUIRE(result.exitcode == 5);
}
