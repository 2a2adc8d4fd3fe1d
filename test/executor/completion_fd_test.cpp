// The descriptor that tells event loops without an adapter that tasks have ended.

#include "executor/helpers.hpp"
#include "executor/readable.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"

#include <prong/prong.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

/// Drains the descriptor as its description says. Returns what the last `read` returned.
ssize_t drain(int fd) {
    std::array<char, 256> bytes{};
    ssize_t count = 1;
    while (count > 0) count = read(fd, bytes.data(), bytes.size());
    return count;
}

/// Waits for the futures like an event loop without a tick.
template <typename Futures>
bool all_end(int fd, const Futures& futures) {
    const auto are_done = [&] {
        return std::ranges::all_of(futures, [](const auto& future) { return future.done(); });
    };
    while (!are_done()) {
        if (!becomes_readable(fd)) return false;
        drain(fd);
    }
    return true;
}

} // namespace

TEST_CASE("completion_fd is readable at first if tasks have ended before") {
    ProcessPoolExecutor pool(1);
    const Future<int> future = pool.submit(square, 7);
    CHECK(future.wait_for(1min));
    CHECK(becomes_readable(pool.completion_fd()));
}

TEST_CASE("completion_fd is readable when a task has ended that was submitted before or after") {
    const bool with_zygote = GENERATE(false, true);
    check_child([with_zygote] {
        const Shared<Gate> gate;
        if (with_zygote) prong::start_zygote();
        ProcessPoolExecutor pool(2);
        std::vector<Future<int>> futures;
        futures.push_back(pool.submit(pass(gate)));
        const int fd = pool.completion_fd();
        require(fd > STDERR_FILENO && fd == pool.completion_fd(), "always the same");
        require((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "close-on-exec");
        futures.push_back(pool.submit(pass(gate)));
        require(gate->await_arrivals(2), "arrivals");
        require(!is_readable(fd), "not yet");
        gate->open();
        require(all_end(fd, futures), "both");
        while (drain(fd) < 0 && errno != EAGAIN) {
        }
        for (int i = 0; i < 200; ++i) {
            auto future = pool.submit(square, i);
            while (!future.done()) {
                require(becomes_readable(fd), "each");
                std::uint64_t count = 0; // as from an eventfd
                while (read(fd, &count, sizeof(count)) > 0) {
                }
            }
        }
    });
}

TEST_CASE("completion_fd tells of tasks that end without a worker") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const int fd = pool.completion_fd();
    const auto held = occupy(pool, gate);
    Future<int> future = pool.submit(square, 1);
    drain(fd);
    SECTION("cancelled") {
        CHECK(future.cancel());
    }
    SECTION("with many others") {
        std::vector<Future<int>> others;
        for (int i = 0; i < 2000; ++i) others.push_back(pool.submit(square, i));
        for (auto& other : others) CHECK(other.cancel());
        CHECK(future.cancel());
    }
    SECTION("at the end of the pool") {
        pool.kill_workers();
    }
    CHECK(becomes_readable(fd));
    drain(fd);
    CHECK(future.done());
    gate->open();
}

TEST_CASE("completion_fd tells of the deaths of workers") {
    ProcessPoolExecutor pool(2);
    const int fd = pool.completion_fd();
    std::vector<Future<void>> futures;
    for (int i = 0; i < 5; ++i) futures.push_back(pool.submit([] { _exit(1); }));
    CHECK(all_end(fd, futures));
}

TEST_CASE("completion_fd tells of a supervisor that is killed, and stays readable") {
    const bool asks_before = GENERATE(true, false);
    const bool with_workers = GENERATE(true, false);
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const auto held = occupy(pool, gate);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(square, i));
    const int fd = asks_before ? pool.completion_fd() : -1;
    const pid_t supervisor = supervisor_of(getpid());
    if (with_workers) {
        CHECK_FALSE(futures.front().done()); // looks at the supervisor
    } else {
        kill(supervisor, SIGSTOP);
        for (const pid_t worker : workers_of(supervisor)) kill(worker, SIGKILL);
    }
    kill(supervisor, SIGKILL);
    const int after = asks_before ? fd : pool.completion_fd();
    CHECK(all_end(after, futures));
    REQUIRE(becomes_readable(after));
    CHECK(drain(after) == 0);
    CHECK(is_readable(after));
    for (auto& future : futures) CHECK_THROWS_AS(future.get(), BrokenProcessPool);
}

TEST_CASE("completion_fd stays open until the last future is destroyed") {
    Future<int> future;
    int fd = -1;
    {
        ProcessPoolExecutor pool(1);
        fd = pool.completion_fd();
        future = pool.submit(square, 3);
    }
    REQUIRE(becomes_readable(fd));
    CHECK(drain(fd) == 0); // the pool has ended
    CHECK(future.get() == 9);
    future = {};
    CHECK(fcntl(fd, F_GETFD) < 0);
}

TEST_CASE("completion_fd of a pool that has been shut down is readable") {
    ProcessPoolExecutor pool(1);
    pool.shutdown();
    const int fd = pool.completion_fd();
    CHECK(is_readable(fd));
    CHECK(drain(fd) == 0);
}

TEST_CASE("completion_fd need not be read") {
    ProcessPoolExecutor pool(2);
    const int fd = pool.completion_fd();
    // Made blocking by a task: a full pipe must stop no worker.
    pool.submit([] {
            for (int other = 3; other < 1024; ++other)
                fcntl(other, F_SETFL, fcntl(other, F_GETFL) & ~O_NONBLOCK);
        })
        .get();
    std::vector<Future<int>> futures;
    for (int i = 0; i < 10'000; ++i) futures.push_back(pool.submit(square, i));
    CHECK(prong::wait(futures).done.size() == futures.size());
    CHECK(is_readable(fd));
    drain(fd);
    futures.clear();
    futures.push_back(pool.submit(square, 1));
    CHECK(all_end(fd, futures));
}

TEST_CASE("a worker that has closed all of its descriptors still makes completion_fd readable") {
    ProcessPoolExecutor pool(1);
    const int fd = pool.completion_fd();
    std::vector<Future<int>> futures;
    futures.push_back(pool.submit([] {
        for (int other = 3; other < 1024; ++other) close(other);
        return 0;
    }));
    for (int i = 0; i < 5; ++i) futures.push_back(pool.submit(square, i));
    CHECK(all_end(fd, futures));
}

TEST_CASE("several threads ask for completion_fd at once, right after the pool was made") {
    ProcessPoolExecutor pool(1);
    std::array<int, 4> fds{};
    {
        std::vector<std::jthread> threads;
        for (int& fd : fds) threads.emplace_back([&] { fd = pool.completion_fd(); });
    }
    CHECK(std::ranges::count(fds, fds.front()) == 4);
}

TEST_CASE("completion_fd of a Pool tells of its calls") {
    prong::Pool pool(1);
    const int fd = pool.completion_fd();
    auto result = pool.apply_async(square, 3);
    while (!result.ready()) {
        REQUIRE(becomes_readable(fd));
        drain(fd);
    }
    CHECK(result.get() == 9);
}
