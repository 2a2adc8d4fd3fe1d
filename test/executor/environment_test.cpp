// What the program around a pool may do, and what the system may deny it.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/sanitizer.hpp"

#include <prong/prong.hpp>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

constexpr int skipped = 77;

/// Everything that a pool does with its processes: results, a death, a new worker, the end.
void use_pool() {
    ProcessPoolExecutor pool(2);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 100; ++i) futures.push_back(pool.submit(square, i));
    auto dies = pool.submit([] { raise(SIGKILL); });
    for (int i = 0; i < 100; ++i) futures.push_back(pool.submit(square, i));
    for (int i = 0; i < 200; ++i) {
        const int n = i % 100;
        require(futures[static_cast<std::size_t>(i)].get() == n * n, "result");
    }
    require_throws<WorkerDied>([&] { dies.get(); }, "a task that kills its worker");
    auto last = pool.submit(square, 12);
    pool.shutdown();
    require(last.get() == 144, "result of the last task");
    require(eventually([] { return children_of(getpid()).empty(); }), "no child is left");
}

void limit(int resource, rlim_t value) {
    const rlimit both{.rlim_cur = value, .rlim_max = value};
    if (setrlimit(static_cast<__rlimit_resource>(resource), &both) != 0) {
        throw std::system_error(errno, std::generic_category(), "setrlimit");
    }
}

std::ptrdiff_t entries(const char* directory) {
    return std::distance(std::filesystem::directory_iterator(directory), {});
}

int occurrences(std::string_view text, std::string_view word) {
    int count = 0;
    for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
        ++count;
    }
    return count;
}

/// A listening socket; `port` 0: any, else that one. -1 and errno if it cannot be had.
int listen_on(in_port_t& port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = port;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof(address);
    if (bind(fd, any, size) != 0 || listen(fd, 1) != 0 || getsockname(fd, any, &size) != 0) {
        close(fd);
        return -1;
    }
    port = address.sin_port;
    return fd;
}

std::atomic<int> interrupts = 0;

} // namespace

TEST_CASE("a pool works in a program that ignores SIGCHLD") {
    check_child([] {
        std::signal(SIGCHLD, SIG_IGN);
        use_pool();
    });
}

TEST_CASE("a pool works in a program that collects every child itself") {
    check_child([] {
        std::atomic<bool> over = false;
        std::jthread collector([&] {
            while (!over) {
                if (waitpid(-1, nullptr, 0) < 0) std::this_thread::yield();
            }
        });
        for (int i = 0; i < 5; ++i) use_pool();
        over = true;
    });
}

TEST_CASE("Ctrl-C in a terminal ends no task of a parent that ignores or handles it") {
    const bool ignores = GENERATE(true, false);
    check_child([ignores] {
        setpgid(0, 0);
        interrupts = 0;
        std::signal(
            SIGINT, ignores ? SIG_IGN : [](int) { ++interrupts; });
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(2);
        auto starting = pool.submit(square, 3);
        kill(0, SIGINT); // also to processes that are just starting
        require(starting.get() == 9, "result of the first task");
        auto held = occupy(pool, gate);
        auto pending = pool.submit(square, 4);
        kill(0, SIGINT);
        gate->open();
        const auto workers = results_of(held);
        require(pending.get() == 16, "result of the pending task");
        auto again = pool.submit(pid_of_worker);
        require(std::ranges::count(workers, again.get()) == 1, "the workers are still the same");
        require(interrupts == (ignores ? 0 : 2), "the parent's handler has run");
    });
}

TEST_CASE("16 descriptors are enough for 200 workers") {
    check_child([] {
        limit(RLIMIT_NOFILE, 16);
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(200);
        auto held = occupy(pool, gate);
        gate->open();
        const auto pids = results_of(held);
        require(std::set<int>(pids.begin(), pids.end()).size() == 200, "200 workers");
        auto dies = pool.submit([] { raise(SIGKILL); });
        require_throws<WorkerDied>([&] { dies.get(); }, "a task that kills its worker");
        const TaskOptions small{.limits = {.memory_bytes = 16 << 20}};
        auto large = pool.with(small).submit([] {
            for (std::vector<std::string> parts;;) parts.emplace_back(1 << 20, 'x');
        });
        require_throws<prong::LimitExceeded>([&] { large.get(); }, "a task that needs too much");
        gate->close();
        auto more = occupy(pool, gate); // with the new one
        gate->open();
        results_of(more);
    });
}

TEST_CASE("a pool fits into a limited address space and leaves most of it to the program") {
    if (address_sanitizer) return; // needs terabytes of address space itself
    check_child([] {
        constexpr std::size_t gib = std::size_t{1} << 30;
        limit(RLIMIT_AS, 2 * gib);
        ProcessPoolExecutor pool(4);
        std::vector<Future<int>> futures;
        for (int i = 0; i < 50'000; ++i) futures.push_back(pool.submit(square, i % 100));
        for (int i = 0; i < 50'000; ++i) {
            const int n = i % 100;
            require(futures[static_cast<std::size_t>(i)].get() == n * n, "result");
        }
        const std::string text(1 << 20, 'x');
        require(pool.submit([](std::string s) { return s; }, text).get() == text, "1 MiB");
        const std::unique_ptr<char[]> large(new char[gib]);
        require(large != nullptr, "1 GiB for the program");
    });
}

TEST_CASE("a /dev/shm of 64 KiB is no limit") {
    const ChildResult result = run_in_child([] {
        if (unshare(CLONE_NEWNS) != 0 ||
            mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            mount("none", "/dev/shm", "tmpfs", 0, "size=64k") != 0) {
            return skipped;
        }
        struct statvfs size {};
        statvfs("/dev/shm", &size);
        require(size.f_blocks * size.f_frsize == 64 << 10, "/dev/shm is small");
        const std::string text(8 << 20, 'x');
        {
            ProcessPoolExecutor pool(2);
            require(pool.submit([](std::string s) { return s; }, text).get() == text, "8 MiB");
        }
        use_pool();
        require(std::filesystem::is_empty("/dev/shm"), "nothing is left in /dev/shm");
        return 0;
    });
    if (result.exitcode == skipped) {
        WARN("may not mount a small /dev/shm: not tested");
        return;
    }
    INFO(result.err);
    CHECK(result.exitcode == 0);
}

TEST_CASE("a pool that is forked with the program ends when its own program says so") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    const pid_t copy = fork();
    if (copy == 0) {
        pause(); // keeps what it has inherited
        _exit(0);
    }
    gate->open();
    CHECK(held[0].get() > 0);
    pool.shutdown(); // would hang if it waited for something that the copy holds
    CHECK(is_running(copy));
    kill(copy, SIGKILL);
    waitpid(copy, nullptr, 0);
}

TEST_CASE("workers keep no listening socket: its port is free when the program closes it") {
    check_child([] {
        in_port_t port = 0;
        const int listener = listen_on(port);
        require(listener >= 0, "listening");
        const Shared<Gate> gate;
        ProcessPoolExecutor pool(2);
        auto held = occupy(pool, gate); // the workers live
        require(listen_on(port) < 0 && errno == EADDRINUSE, "the port is in use");
        close(listener);
        const int again = listen_on(port);
        require(again >= 0, "the port is free again");
        close(again);
        gate->open();
    });
}

TEST_CASE("what stood in the buffers of the standard streams is written once") {
    const bool synchronized = GENERATE(true, false);
    const ChildResult result = run_in_child([&] {
        std::ios::sync_with_stdio(synchronized);
        std::printf("printed before ");
        std::cout << "streamed before ";
        use_pool();
        {
            ProcessPoolExecutor pool(2);
            static_cast<void>(pool.submit([] { std::exit(0); }).exception());
        }
        std::printf("printed after ");
        return 0;
    });
    INFO(result.err);
    CHECK(result.exitcode == 0);
    CHECK(occurrences(result.out, "printed before ") == 1);
    CHECK(occurrences(result.out, "streamed before ") == 1);
    CHECK(occurrences(result.out, "printed after ") == 1);
}

TEST_CASE("what tasks print is there after shutdown") {
    const bool synchronized = GENERATE(true, false);
    const ChildResult result = run_in_child([&] {
        std::ios::sync_with_stdio(synchronized);
        ProcessPoolExecutor pool(2);
        for (int i = 0; i < 10; ++i) {
            pool.submit([] {
                std::printf("printed by a task ");
                std::cout << "streamed by a task ";
            });
        }
        pool.shutdown();
        const off_t size = lseek(STDOUT_FILENO, 0, SEEK_END);
        require(size == 10 * 37, "all is written after shutdown");
        return 0;
    });
    INFO(result.err);
    CHECK(result.exitcode == 0);
    CHECK(occurrences(result.out, "printed by a task ") == 10);
    CHECK(occurrences(result.out, "streamed by a task ") == 10);
}

TEST_CASE("a pool costs its program two descriptors and no thread") {
    const auto threads = entries("/proc/self/task");
    const auto descriptors = entries("/proc/self/fd");
    {
        const Shared<Gate> gate;
        ProcessPoolExecutor first(3);
        CHECK(entries("/proc/self/fd") == descriptors + 2);
        auto held = occupy(first, gate);
        ProcessPoolExecutor second(2);
        auto mapped = second.map(square, std::views::iota(0, 1000));
        CHECK(*mapped.begin() == 0);
        CHECK(entries("/proc/self/task") == threads);
        CHECK(entries("/proc/self/fd") == descriptors + 4);
        // The memory of locks and queues is for programs that have some.
        std::ifstream maps("/proc/self/maps");
        const std::string text(std::istreambuf_iterator<char>(maps), {});
        CHECK(text.find("memfd:prong ") != std::string::npos);
        CHECK(text.find("memfd:prong-family") == std::string::npos);
        second.shutdown();
        gate->open();
        CHECK(prong::wait(held).done.size() == 3);
        CHECK(entries("/proc/self/task") == threads);
    }
    CHECK(entries("/proc/self/fd") == descriptors);
}
