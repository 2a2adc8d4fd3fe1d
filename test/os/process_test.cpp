#include "os/cpus.hpp"
#include "os/process.hpp"

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/eventually.hpp"
#include "support/processes.hpp"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <system_error>
#include <thread>

using namespace prong;
using namespace prong::os;
using namespace prong::test;
using namespace std::chrono_literals;
using detail::Deadline;

namespace {

/// Forks by `fork_process` a child that exits with what `body` returns, and gives its exit code.
template <typename Body>
int run_forked(Body body) {
    const pid_t pid = fork_process();
    if (pid == 0) _exit(body());
    return reap(pid).value().exitcode;
}

bool is_ignored(int signal) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    return action.sa_handler == SIG_IGN;
}

bool is_default(int signal) {
    struct sigaction action {};
    sigaction(signal, nullptr, &action);
    return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler == SIG_DFL;
}

void handle(int) {}
void handle_with_info(int, siginfo_t*, void*) {}

} // namespace

TEST_CASE("A forked child starts with every handler reset") {
    const ChildResult result = run_in_child([] {
        std::signal(SIGUSR1, handle);
        std::signal(SIGRTMAX, handle);
        std::signal(SIGTERM, SIG_IGN);
        std::signal(SIGINT, SIG_IGN);
        struct sigaction with_info {};
        with_info.sa_sigaction = handle_with_info;
        with_info.sa_flags = SA_SIGINFO;
        sigaction(SIGSEGV, &with_info, nullptr);
        return run_forked([] {
            for (const int signal : {SIGUSR1, SIGRTMAX, SIGTERM, SIGINT, SIGSEGV}) {
                if (!is_default(signal)) return signal;
            }
            return 0;
        });
    });
    CHECK(result.exitcode == 0);
}

TEST_CASE("SIGPIPE stays ignored in a forked child if it was, and is reset if it was handled") {
    const ChildResult ignored = run_in_child([] {
        std::signal(SIGPIPE, SIG_IGN);
        return run_forked([] { return is_ignored(SIGPIPE) ? 0 : 1; });
    });
    CHECK(ignored.exitcode == 0);
    const ChildResult handled = run_in_child([] {
        std::signal(SIGPIPE, handle);
        return run_forked([] { return is_default(SIGPIPE) ? 0 : 1; });
    });
    CHECK(handled.exitcode == 0);
}

TEST_CASE("A forked child has no signal blocked, and the parent's mask is as before") {
    const ChildResult result = run_in_child([] {
        sigset_t mask;
        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        pthread_sigmask(SIG_SETMASK, &mask, nullptr);
        const int blocked_in_child = run_forked([] {
            sigset_t now;
            pthread_sigmask(SIG_SETMASK, nullptr, &now);
            return sigisemptyset(&now) != 0 ? 0 : 1;
        });
        sigset_t after;
        pthread_sigmask(SIG_SETMASK, nullptr, &after);
        const bool same = sigismember(&after, SIGTERM) == 1 && sigismember(&after, SIGINT) == 0;
        return same ? blocked_in_child : 2;
    });
    CHECK(result.exitcode == 0);
}

TEST_CASE("Text that was buffered before a fork is written once") {
    const ChildResult result = run_in_child([] {
        std::printf("from printf;");
        std::cout << "from cout;";
        std::clog << "from clog;";
        const pid_t pid = fork_process();
        if (pid == 0) exit_process(0);
        reap(pid);
        return 0;
    });
    CHECK(result.out == "from printf;from cout;");
    CHECK(result.err == "from clog;");
}

TEST_CASE("A fork does not wait for a thread that has a stream locked") {
    const ChildResult result = run_in_child([] {
        std::atomic<bool> locked{false};
        std::atomic<bool> forked{false};
        std::thread holder([&] {
            flockfile(stdout);
            locked = true;
            locked.notify_all();
            forked.wait(false);
            funlockfile(stdout);
        });
        locked.wait(false);
        const pid_t pid = fork_process();
        if (pid == 0) exit_process(0);
        forked = true;
        forked.notify_all();
        holder.join();
        return reap(pid).value().exitcode;
    });
    CHECK(result.exitcode == 0);
}

TEST_CASE("exit_process writes what is buffered and runs no exit handler") {
    const ChildResult result = run_in_child([]() -> int {
        std::atexit([] { std::cerr << "an exit handler ran"; });
        std::printf("buffered;");
        std::cout << "too";
        exit_process(5);
    });
    CHECK(result.exitcode == 5);
    CHECK(result.out == "buffered;too");
    CHECK(result.err.empty());
}

TEST_CASE("After leave_quietly_on_exit, exit() runs the handlers of this process only") {
    const ChildResult result = run_in_child([]() -> int {
        std::atexit([] { std::cerr << "the parent's handler ran;"; });
        leave_quietly_on_exit();
        std::atexit([] { std::cerr << "own handler ran;"; });
        std::cout << "buffered";
        std::exit(6);
    });
    CHECK(result.exitcode == 6);
    CHECK(result.out == "buffered");
    CHECK(result.err == "own handler ran;");
}

TEST_CASE("Reaping returns the exit code or the signal") {
    for (const int code : {0, 1, 255}) {
        const pid_t pid = fork_process();
        if (pid == 0) _exit(code);
        const auto end = reap(pid);
        REQUIRE(end.has_value());
        CHECK(end->pid == pid);
        CHECK(end->exitcode == code);
    }
    for (const int signal : {SIGKILL, SIGTERM, SIGUSR1}) {
        const pid_t pid = fork_process();
        if (pid == 0) {
            raise(signal);
            _exit(0);
        }
        CHECK(reap(pid).value().exitcode == -signal);
    }
}

TEST_CASE("Reaping what is already reaped returns nothing") {
    const pid_t pid = fork_process();
    if (pid == 0) _exit(0);
    CHECK(waitpid(pid, nullptr, 0) == pid);
    CHECK_FALSE(reap(pid).has_value());
    const ChildResult ignoring = run_in_child([] {
        std::signal(SIGCHLD, SIG_IGN);
        const pid_t child = fork_process();
        if (child == 0) _exit(0);
        return reap(child).has_value() ? 1 : 0;
    });
    CHECK(ignoring.exitcode == 0);
}

TEST_CASE("A pidfd becomes readable when its process ends") {
    const pid_t pid = fork_process();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    const base::UniqueFd pidfd = open_pidfd(pid);
    CHECK_FALSE(wait_readable(pidfd.get(), Deadline::after(0s)));
    CHECK_FALSE(wait_readable(pidfd.get(), Deadline::after(5ms)));
    kill(pid, SIGKILL);
    CHECK(wait_readable(pidfd.get(), Deadline::after(60s)));
    CHECK(wait_readable(pidfd.get(), Deadline::never()));
    reap(pid);
}

TEST_CASE("A pidfd of no process is a system_error that names the call") {
    const pid_t pid = fork_process();
    if (pid == 0) _exit(0);
    reap(pid);
    try {
        open_pidfd(pid);
        FAIL("no exception");
    } catch (const std::system_error& error) {
        CHECK(std::string(error.what()).find("pidfd_open") == 0);
    }
}

TEST_CASE("A pipe whose writer is closed counts as readable") {
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    close(ends[1]);
    CHECK(wait_readable(ends[0], Deadline::after(60s)));
    close(ends[0]);
}

TEST_CASE("A child that asked for it is killed with its parent") {
    const ChildResult parent = run_in_child([] {
        const pid_t self = getpid();
        int ready[2];
        if (pipe(ready) != 0) return 1;
        const pid_t child = fork_process();
        if (child == 0) {
            const bool parent_lives = set_parent_death_signal(SIGKILL, self);
            if (!parent_lives || write(ready[1], "x", 1) != 1) _exit(1);
            pause();
        }
        char byte = 0;
        if (read(ready[0], &byte, 1) != 1) return 1;
        std::cout << child;
        return 0;
    });
    REQUIRE(parent.exitcode == 0);
    CHECK(eventually([&] { return !is_running(std::stoi(parent.out)); }));
}

TEST_CASE("A child detects that its parent has already ended") {
    CHECK(run_forked([] { return set_parent_death_signal(SIGKILL, 1 << 22) ? 1 : 0; }) == 0);
}

TEST_CASE("The available CPUs are at least one and follow the affinity") {
    CHECK(available_cpus() >= 1);
    const int on_one_cpu = run_forked([] {
        cpu_set_t allowed;
        sched_getaffinity(0, sizeof(allowed), &allowed);
        std::size_t first = 0;
        while (!CPU_ISSET(first, &allowed)) ++first;
        CPU_ZERO(&allowed);
        CPU_SET(first, &allowed);
        sched_setaffinity(0, sizeof(allowed), &allowed);
        return static_cast<int>(available_cpus());
    });
    CHECK(on_one_cpu == 1);
}
