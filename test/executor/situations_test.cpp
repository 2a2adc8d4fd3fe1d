// Situations that people have reported from other pools: limits and rights of the program, threads
// that are unlike the main thread, terminals, and what one task leaves behind for the next.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/sanitizer.hpp"

#include <prong/prong.hpp>

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

void limit(int resource, rlim_t value) {
    const rlimit both{.rlim_cur = value, .rlim_max = value};
    require(setrlimit(static_cast<__rlimit_resource>(resource), &both) == 0, "setrlimit");
}

std::size_t length_of(const std::string& text) {
    return text.size();
}

void become_nobody() {
    require(setgroups(0, nullptr) == 0 && setgid(65534) == 0 && setuid(65534) == 0, "setuid");
}

/// Runs `body` in a thread with other attributes.
void in_thread(const std::function<void()>& body,
               const std::function<void(pthread_attr_t&)>& prepare) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    prepare(attributes);
    std::optional<std::string> trouble;
    struct Call {
        const std::function<void()>& body;
        std::optional<std::string>& trouble;
    } call{body, trouble};
    const auto run = [](void* argument) -> void* {
        auto& called = *static_cast<Call*>(argument);
        try {
            called.body();
        } catch (const std::exception& error) {
            called.trouble = error.what();
        }
        return nullptr;
    };
    pthread_t thread{};
    require(pthread_create(&thread, &attributes, run, &call) == 0, "pthread_create");
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    require(!trouble, trouble.value_or(""));
}

cpu_set_t own_cpus() {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    sched_getaffinity(0, sizeof(cpus), &cpus);
    return cpus;
}

int count_own_cpus() {
    const cpu_set_t cpus = own_cpus();
    return CPU_COUNT(&cpus);
}

/// Makes a terminal this process's own, as a login does; returns the other side of it.
int open_terminal() {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    require(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0, "a terminal");
    require(setsid() > 0, "setsid");
    const int terminal = open(ptsname(master), O_RDWR);
    require(terminal >= 0 && ioctl(terminal, TIOCSCTTY, 0) == 0, "its controlling terminal");
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) dup2(terminal, fd);
    return master;
}

/// What a task that leaves a timer running may have made of it.
template <typename Leave>
void leave_and_wait(Leave leave, clockid_t clock) {
    ProcessPoolExecutor pool(1);
    const auto busy = [](int which) { // until the timer would have expired
        timespec now{};
        clock_gettime(which, &now);
        const auto in_ms = [](timespec t) { return t.tv_sec * 1000 + t.tv_nsec / 1'000'000; };
        const auto end = in_ms(now) + 120;
        while (in_ms(now) < end) clock_gettime(which, &now);
        return static_cast<int>(getpid());
    };
    const int worker = pool.submit(pid_of_worker).get();
    for (int i = 0; i < 3; ++i) {
        pool.submit(leave).get();
        require(pool.submit(busy, clock).get() == worker, "the next task has run in peace");
    }
}

} // namespace

// ---- limits and rights of the program -----------------------------------------------------------

TEST_CASE("a program whose files may not be large (ulimit -f) has a pool, and no signal") {
    const rlim_t most = GENERATE(rlim_t{4} << 20, rlim_t{1} << 30, rlim_t{10} << 30);
    check_child([most] {
        limit(RLIMIT_FSIZE, most);
        ProcessPoolExecutor pool(1);
        require(pool.submit(length_of, std::string(10'000, 'x')).get() == 10'000, "a result");
        const std::size_t large = most / 1024;
        try {
            require(pool.submit(length_of, std::string(large, 'x')).get() == large, "a large one");
        } catch (const prong::LimitExceeded&) {
            require(most < rlim_t{1} << 30, "refused only where there is no room");
        }
        const auto captured = pool.with(TaskOptions{.capture_output = true});
        const auto talk = [](std::size_t bytes) {
            const std::string line(1 << 16, 'x');
            for (std::size_t i = 0; i < bytes; i += line.size()) std::puts(line.c_str());
            return bytes;
        };
        if (most < rlim_t{1} << 30)
            require(captured.submit(talk, most + (1 << 20)).get() > most, "a talkative task");
    });
}

TEST_CASE("a limit of files that is too small for a pool is named in the error") {
    check_child([] {
        for (const rlim_t most : {rlim_t{100'000}, rlim_t{0}}) {
            limit(RLIMIT_FSIZE, most);
            const auto text = require_throws<std::system_error>(
                [] { ProcessPoolExecutor(1).shutdown(); }, "a pool");
            require(text.find("ulimit -f") != std::string::npos, text);
        }
    });
}

TEST_CASE("a task that may write little can create its own pool") {
    ProcessPoolExecutor pool(1);
    TaskOptions little;
    little.limits.max_file_bytes = 16 << 20;
    const auto nested = [] {
        ProcessPoolExecutor inner(1);
        return inner.submit(square, 7).get();
    };
    CHECK(pool.with(little).submit(nested).get() == 49);
}

TEST_CASE("in a program that locks all its memory a pool locks none") {
    if (address_sanitizer) return; // its shadow cannot be locked
    const auto result = run_in_child([] {
        if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return 77;
        const auto locked_kib = [] {
            std::ifstream status("/proc/self/status");
            for (std::string line; std::getline(status, line);) {
                if (line.starts_with("VmLck:")) return std::stol(line.substr(6));
            }
            return 0L;
        };
        const long before = locked_kib();
        ProcessPoolExecutor pool(2);
        require(pool.submit(square, 7).get() == 49, "a result");
        require(locked_kib() < before + (64 << 10), "nothing of the reservation is locked");
        return 0;
    });
    INFO(result.err);
    CHECK((result.exitcode == 0 || result.exitcode == 77));
}

TEST_CASE("a program that gives up its rights after making the pool still rules it") {
    if (geteuid() != 0) return;
    const bool with_zygote = GENERATE(false, true);
    check_child([with_zygote] {
        if (with_zygote) prong::start_zygote();
        if (with_zygote) become_nobody();
        ProcessPoolExecutor pool(2);
        require(pool.submit(square, 1).get() == 1, "a result");
        if (!with_zygote) become_nobody();
        const auto slow = pool.with(TaskOptions{.timeout = 50ms});
        auto late = slow.submit(sleep_for_ever);
        require_throws<prong::TaskTimeout>([&] { late.get(); }, "a timeout");
        auto killed = pool.submit(sleep_for_ever);
        require(eventually([&] { return killed.running(); }), "it runs");
        require(killed.kill(), "kill");
        require_throws<CancelledError>([&] { killed.get(); }, "a killed task");
        require(pool.submit(square, 7).get() == 49, "new tasks run");
        auto ended = pool.submit(sleep_for_ever);
        require(eventually([&] { return ended.running(); }), "it runs");
        pool.terminate_workers();
        require_throws<WorkerDied>([&] { ended.get(); }, "a terminated task");
    });
}

TEST_CASE("a worker that has given up its rights is timed out at once") {
    if (geteuid() != 0) return;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .initializer = [] { become_nobody(); }});
    const auto slow = pool.with(TaskOptions{.timeout = 50ms});
    auto late = slow.submit(sleep_for_ever);
    CHECK_THROWS_AS(late.get(), prong::TaskTimeout);
    CHECK(pool.submit(square, 7).get() == 49);
}

TEST_CASE("terminate_workers ends tasks that ignore SIGTERM, too") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto stubborn = pool.submit(with_captures([place = gate.get()] {
        std::signal(SIGTERM, SIG_IGN);
        place->pass();
        sleep_for_ever();
    }));
    gate->open();
    REQUIRE(gate->await_arrivals(1));
    pool.terminate_workers();
    CHECK(error_of<WorkerDied>(stubborn).signal() == SIGKILL);
}

TEST_CASE("tasks have a stack of the usual size though the pool's thread has a small one") {
    if (address_sanitizer) return; // frames are larger there
    check_child([] {
        const auto make_and_use = [] {
            ProcessPoolExecutor pool(1);
            const auto deep = [] {
                std::array<volatile char, 6 << 20> frame;
                for (std::size_t i = 0; i < frame.size(); i += 4096) frame[i] = 1;
                return frame[0] + 1;
            };
            require(pool.submit(deep).get() == 2, "a large frame");
            require(pool.submit(deep).get() == 2, "again");
            pool.submit([] { std::_Exit(3); }).wait();
            require(pool.submit(deep).get() == 2, "in a worker that has taken another's place");
        };
        in_thread(make_and_use,
                  [](pthread_attr_t& it) { pthread_attr_setstacksize(&it, 128 << 10); });
    });
}

TEST_CASE("a pool made by a pinned thread has as many workers and CPUs as the process") {
    check_child([] {
        const cpu_set_t all = own_cpus();
        cpu_set_t one;
        CPU_ZERO(&one);
        for (std::size_t cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
            if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
        }
        const int expected = ProcessPoolExecutor().max_workers();
        const auto make_and_use = [&] {
            require(count_own_cpus() == 1, "pinned");
            ProcessPoolExecutor pool;
            require(pool.max_workers() == expected, "workers");
            require(pool.submit(count_own_cpus).get() == CPU_COUNT(&all), "CPUs of a worker");
        };
        in_thread(make_and_use,
                  [&](pthread_attr_t& it) { pthread_attr_setaffinity_np(&it, sizeof(one), &one); });
    });
}

TEST_CASE("core dumps are off in workers, and an initializer may turn them on again") {
    const auto core_limit = [] {
        rlimit core{};
        getrlimit(RLIMIT_CORE, &core);
        return std::pair(core.rlim_cur, core.rlim_max);
    };
    const auto raise_it = [] {
        rlimit core{};
        getrlimit(RLIMIT_CORE, &core);
        core.rlim_cur = core.rlim_max;
        setrlimit(RLIMIT_CORE, &core);
    };
    const rlim_t most = core_limit().second;
    ProcessPoolExecutor without(1);
    CHECK(without.submit(core_limit).get() == std::pair(rlim_t{0}, most));
    ProcessPoolExecutor with(PoolOptions{.max_workers = 1, .initializer = raise_it});
    CHECK(with.submit(core_limit).get() == std::pair(most, most));
}

// ---- terminals and signals ----------------------------------------------------------------------

TEST_CASE("a task that reads the terminal is refused at once, and so is a tool that it starts") {
    check_child([] {
        const int master = open_terminal();
        ProcessPoolExecutor pool(1);
        const auto ask = [] {
            char byte = 0;
            return read(STDIN_FILENO, &byte, 1) < 0 && read(STDOUT_FILENO, &byte, 1) < 0;
        };
        const auto ask_by_tool = [] {
            const int status = std::system("{ read answer </dev/tty; } 2>/dev/null");
            return WIFEXITED(status) && WEXITSTATUS(status) != 0;
        };
        const auto ask_by_process = [] {
            prong::Process process([] {
                char byte = 0;
                std::exit(read(STDIN_FILENO, &byte, 1) < 0 ? 3 : 0);
            });
            process.start();
            process.join();
            return process.exitcode();
        };
        require(write(master, "secret\n", 7) == 7, "an answer that is not for them");
        require(pool.submit(ask).get(), "read fails");
        require(pool.submit(ask_by_tool).get(), "a tool's read fails");
        require(pool.submit(ask_by_process).get() == 3, "a process's read fails");
        pool.shutdown();
        std::array<char, 16> line{};
        require(read(STDIN_FILENO, line.data(), line.size()) == 7, "the answer is the program's");
    });
}

TEST_CASE("a task that lets the terminal stop it dies of that, and shutdown ends") {
    check_child([] {
        open_terminal();
        ProcessPoolExecutor pool(1);
        auto asks = pool.submit([] {
            std::signal(SIGTTIN, SIG_DFL);
            raise(SIGTTIN); // as a tool does that is not in the foreground
        });
        require(error_of<WorkerDied>(asks).signal() == SIGTTIN, "died of SIGTTIN");
        require(pool.submit(square, 7).get() == 49, "the pool continues");
    });
}

TEST_CASE("a task that stops again and again is continued until it is done") {
    ProcessPoolExecutor pool(1);
    auto stops = pool.submit([] {
        for (int i = 0; i < 4; ++i) raise(SIGSTOP);
        return 7;
    });
    pool.shutdown();
    CHECK(stops.get() == 7);
}

TEST_CASE("an alarm or a timer that a task leaves does not kill the next one") {
    SECTION("alarm") {
        leave_and_wait(
            [] {
                const itimerval soon{.it_interval = {},
                                     .it_value = {.tv_sec = 0, .tv_usec = 100'000}};
                setitimer(ITIMER_REAL, &soon, nullptr);
            },
            CLOCK_MONOTONIC);
    }
    SECTION("of processor time") {
        leave_and_wait(
            [] {
                const itimerval soon{.it_interval = {},
                                     .it_value = {.tv_sec = 0, .tv_usec = 100'000}};
                setitimer(ITIMER_VIRTUAL, &soon, nullptr);
                setitimer(ITIMER_PROF, &soon, nullptr);
            },
            CLOCK_PROCESS_CPUTIME_ID);
    }
    SECTION("timer_create") {
        leave_and_wait(
            [] {
                timer_t first{};
                timer_t second{};
                timer_create(CLOCK_MONOTONIC, nullptr, &first);
                timer_create(CLOCK_MONOTONIC, nullptr, &second);
                timer_delete(first);
                const itimerspec soon{.it_interval = {},
                                      .it_value = {.tv_sec = 0, .tv_nsec = 100'000'000}};
                timer_settime(second, 0, &soon, nullptr);
            },
            CLOCK_MONOTONIC);
    }
}

TEST_CASE("a task that leaves an alarm is found out though it did not do so the first times") {
    const Shared<Counter> calls;
    ProcessPoolExecutor pool(1);
    const auto sometimes = with_captures([place = calls.get()] {
        if (place->fetch_add(1) != 100) return;
        const itimerval soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 100'000}};
        setitimer(ITIMER_REAL, &soon, nullptr);
        const auto end = std::chrono::steady_clock::now() + 10ms; // not one of the shortest tasks
        while (std::chrono::steady_clock::now() < end) {
        }
    });
    const int worker = pool.submit(pid_of_worker).get();
    for (int i = 0; i < 101; ++i) pool.submit(sometimes).get();
    const auto long_task = [] {
        const auto end = std::chrono::steady_clock::now() + 120ms;
        while (std::chrono::steady_clock::now() < end) {
        }
        return static_cast<int>(getpid());
    };
    CHECK(pool.submit(long_task).get() == worker);
}

TEST_CASE("a task that leaves an alarm each time is never trusted") {
    ProcessPoolExecutor pool(1);
    const auto leave = [] {
        const itimerval soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 100'000}};
        setitimer(ITIMER_REAL, &soon, nullptr);
    };
    const auto work = [] {
        const auto end = std::chrono::steady_clock::now() + 110ms;
        while (std::chrono::steady_clock::now() < end) {
        }
        return static_cast<int>(getpid());
    };
    const int worker = pool.submit(pid_of_worker).get();
    for (int i = 0; i < 25; ++i) {
        pool.submit(leave).get();
        REQUIRE(pool.submit(work).get() == worker);
    }
}

TEST_CASE("a trusted function that begins to leave alarms is trusted no more") {
    const Shared<std::atomic<bool>> leaves;
    ProcessPoolExecutor pool(1);
    const auto perhaps_leave = with_captures([place = leaves.get()] {
        const itimerval later{.it_interval = {}, .it_value = {.tv_sec = 60, .tv_usec = 0}};
        if (place->load()) setitimer(ITIMER_REAL, &later, nullptr);
    });
    const auto has_alarm = [] {
        itimerval left{};
        getitimer(ITIMER_REAL, &left);
        return left.it_value.tv_sec != 0;
    };
    for (int i = 0; i < 17; ++i) pool.submit(perhaps_leave).get();
    leaves->store(true);
    pool.submit(perhaps_leave).get();
    while (pool.submit(has_alarm).get()) { // until the next check
    }
    std::vector<Future<bool>> found;
    for (int i = 0; i < 10; ++i) {
        pool.submit(perhaps_leave);
        found.push_back(pool.submit(has_alarm));
    }
    for (auto& future : found) CHECK_FALSE(future.get());
}

TEST_CASE("a task reads the terminal through no descriptor that the program has of it") {
    check_child([] {
        const int master = open_terminal();
        const int other = open("/dev/tty", O_RDWR);
        ProcessPoolExecutor pool(1);
        const auto read_from = [](int fd) {
            char byte = 0;
            return read(fd, &byte, 1) < 0 && write(fd, "", 0) == 0;
        };
        require(write(master, "secret\n", 7) == 7, "an answer that is not for them");
        require(pool.submit(read_from, other).get(), "cannot be read, but written");
        std::array<char, 16> line{};
        require(read(other, line.data(), line.size()) == 7, "the answer is the program's");
    });
}

TEST_CASE("a timer whose signal a task handles continues") {
    ProcessPoolExecutor pool(1);
    pool.submit([] {
            std::signal(SIGALRM, [](int) {});
            const itimerval later{.it_interval = {}, .it_value = {.tv_sec = 1000, .tv_usec = 0}};
            setitimer(ITIMER_REAL, &later, nullptr);
        })
        .get();
    const auto left = [] {
        itimerval timer{};
        getitimer(ITIMER_REAL, &timer);
        return timer.it_value.tv_sec;
    };
    for (int i = 0; i < 3; ++i) CHECK(pool.submit(left).get() > 0);
}
