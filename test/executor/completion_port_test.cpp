// What event loops are told of the tasks that they await.

#include "executor/helpers.hpp"
#include "executor/readable.hpp"
#include "executor/thread_pool.hpp"
#include "os/wake_pipe.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"

#include <prong/detail/completion_port.hpp>
#include <prong/prong.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

using namespace prong::test;
using prong::detail::AwaitedTask;
using prong::detail::CompletionPort;
using prong::detail::FutureAccess;

namespace {

/// Counts the ends that are reported.
class Await final : public AwaitedTask {
public:
    void ended() noexcept override { ends_.fetch_add(1); }
    [[nodiscard]] int ends() const { return ends_.load(); }

private:
    std::atomic<int> ends_ = 0;
};

/// A future whose end is awaited.
class AwaitedFuture {
public:
    explicit AwaitedFuture(Future<int> future)
        : future_(std::move(future)), port_(CompletionPort::of(FutureAccess::task(future_))),
          is_added_(port_.add(FutureAccess::task(future_), await_)) {}
    AwaitedFuture(const AwaitedFuture&) = delete;
    AwaitedFuture& operator=(const AwaitedFuture&) = delete;
    ~AwaitedFuture() { port_.remove(await_); }

    Future<int>& future() { return future_; }
    [[nodiscard]] CompletionPort& port() const { return port_; }
    /// Returns how often it is known to have ended.
    [[nodiscard]] int ends() const { return is_added_ ? await_.ends() : 1; }
    bool remove() { return port_.remove(await_); }

private:
    Future<int> future_;
    Await await_;
    CompletionPort& port_;
    bool is_added_;
};

using Awaits = std::vector<std::unique_ptr<AwaitedFuture>>;

/// Reads the port, as an event loop does but without its tick, until all have ended.
bool all_end(const Awaits& awaits) {
    return std::ranges::all_of(awaits, [](const auto& await) {
        while (await->ends() == 0) {
            if (!becomes_readable(await->port().fd())) return false;
            await->port().drain();
        }
        return true;
    });
}

} // namespace

TEST_CASE("an awaited task makes the port readable when it ends") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    AwaitedFuture one(pool.submit(pass(gate)));
    const AwaitedFuture other(pool.submit(pass(gate)));
    CompletionPort& port = one.port();
    CHECK(&port == &other.port());
    REQUIRE(gate->await_arrivals(2));
    port.drain();
    CHECK_FALSE(is_readable(port.fd()));
    CHECK(one.ends() == 0);
    gate->open();
    while (one.ends() + other.ends() < 2) {
        REQUIRE(becomes_readable(port.fd()));
        port.drain();
    }
    port.drain();
    CHECK_FALSE(is_readable(port.fd()));
    CHECK(one.ends() == 1);
    CHECK(other.ends() == 1);
    CHECK(one.future().done());
}

TEST_CASE("a task that has ended is not awaited") {
    ProcessPoolExecutor pool(1);
    Future<int> future = pool.submit(square, 3);
    future.wait();
    Await await;
    CompletionPort& port = CompletionPort::of(FutureAccess::task(future));
    CHECK_FALSE(port.add(FutureAccess::task(future), await));
    CHECK_FALSE(port.remove(await));
    port.drain();
    CHECK(await.ends() == 0);
}

TEST_CASE("a port that is polled tells of an end, and is readable only after the last poll") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    SECTION("a task that ends meanwhile") {
        Future<int> future = pool.submit(square, 3);
        Await await;
        CompletionPort& port = CompletionPort::of(FutureAccess::task(future));
        if (port.add(FutureAccess::task(future), await, true)) {
            while (await.ends() == 0) port.poll(false);
        }
        CHECK(future.done());
    }
    SECTION("a task that takes longer") {
        Future<int> future = pool.submit(pass(gate));
        REQUIRE(gate->await_arrivals(1));
        Await await;
        CompletionPort& port = CompletionPort::of(FutureAccess::task(future));
        REQUIRE(port.add(FutureAccess::task(future), await, true));
        const bool others_end = GENERATE(false, true);
        do {
            if (others_end) AwaitedFuture(pool.submit(square, 3)).future().wait();
            CHECK(await.ends() == 0);
        } while (port.poll(false));
        port.drain();
        gate->open();
        while (await.ends() == 0) {
            REQUIRE(becomes_readable(port.fd()));
            port.drain();
        }
        CHECK(await.ends() == 1);
        CHECK(future.done());
    }
}

TEST_CASE("an await that was removed is not told") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    AwaitedFuture one(pool.submit(pass(gate)));
    CHECK(one.remove());
    CHECK_FALSE(one.remove());
    gate->open();
    one.future().wait();
    one.port().drain();
    one.port().check();
    CHECK(one.ends() == 0);
}

TEST_CASE("thousands of awaited tasks end, and each is reported once") {
    ProcessPoolExecutor pool(2);
    Awaits awaits;
    for (int i = 0; i < 5000; ++i)
        awaits.push_back(std::make_unique<AwaitedFuture>(pool.submit(square, i)));
    REQUIRE(all_end(awaits));
    for (const auto& await : awaits) {
        if (await->ends() != 1) FAIL("told " << await->ends() << " times");
    }
}

TEST_CASE("several threads read one port: each task is reported once") {
    ProcessPoolExecutor pool(2);
    std::atomic<int> wrong = 0;
    in_threads(3, [&](int) {
        for (int round = 0; round < 20; ++round) {
            Awaits awaits;
            for (int i = 0; i < 50; ++i)
                awaits.push_back(std::make_unique<AwaitedFuture>(pool.submit(square, i)));
            // Another thread may read the byte for these, so this one may not sleep without bound.
            const auto have_ended = [&] {
                awaits.front()->port().drain();
                return std::ranges::all_of(awaits, [](const auto& one) { return one->ends() > 0; });
            };
            wrong += eventually(have_ended) ? 0 : 1;
            for (const auto& one : awaits) wrong += one->ends() == 1 ? 0 : 1;
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("a task that is cancelled, killed or times out while it is awaited is told") {
    const bool with_zygote = GENERATE(false, true);
    check_child([with_zygote] {
        const Shared<Gate> gate;
        if (with_zygote) prong::start_zygote();
        ProcessPoolExecutor pool(1);
        Awaits awaits;
        const auto await = [&](Future<int> future) {
            awaits.push_back(std::make_unique<AwaitedFuture>(std::move(future)));
        };
        await(pool.with(TaskOptions{.timeout = 1ms}).submit(pass(gate)));
        await(pool.submit(pass(gate)));
        await(pool.submit(pass(gate)));
        require(awaits[2]->future().cancel(), "cancel");
        require(is_readable(awaits[2]->port().fd()), "by the program itself");
        require(gate->await_arrivals(2), "after the timeout");
        require(awaits[1]->future().kill(), "kill");
        require(all_end(awaits), "all are told");
    });
}

TEST_CASE("a queued task whose deadline passes is told at a check") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const auto held = occupy(pool, gate);
    const AwaitedFuture late(pool.with(TaskOptions{.deadline = 1ms}).submit(square, 1));
    CHECK(eventually([&] {
        late.port().check();
        return late.ends() == 1;
    }));
    gate->open();
}

TEST_CASE("a worker that dies is repaired: its task and the next are told") {
    ProcessPoolExecutor pool(1);
    Awaits awaits;
    for (int i = 0; i < 5; ++i) {
        awaits.push_back(std::make_unique<AwaitedFuture>(pool.submit([]() -> int { _exit(1); })));
        awaits.push_back(std::make_unique<AwaitedFuture>(pool.submit(square, i)));
    }
    CHECK(all_end(awaits));
}

TEST_CASE("a worker that has closed all of its descriptors, or made them block, tells as ever") {
    const bool closes = GENERATE(true, false);
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    pool.submit(
            [](bool closing) {
                for (int fd = 3; fd < 1024; ++fd) {
                    if (closing)
                        close(fd);
                    else
                        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
                }
            },
            closes)
        .get();
    for (int round = 0; round < 3; ++round) {
        Awaits awaits;
        for (int i = 0; i < 10; ++i)
            awaits.push_back(std::make_unique<AwaitedFuture>(pool.submit(square, i)));
        REQUIRE(all_end(awaits));
        awaits.front()->port().drain(); // does not block
    }
}

TEST_CASE("when the supervisor is killed a check tells of all tasks") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    const AwaitedFuture running(pool.submit(pass(gate)));
    const AwaitedFuture queued(pool.submit(square, 1));
    REQUIRE(gate->await_arrivals(1));
    kill(supervisor_of(getpid()), SIGKILL);
    CHECK(eventually([&] {
        running.port().check();
        return running.ends() == 1 && queued.ends() == 1;
    }));
    CHECK(running.ends() + queued.ends() == 2);
}

TEST_CASE("false readiness does no harm") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    AwaitedFuture await(pool.submit(pass(gate)));
    for (int i = 0; i < 3; ++i) {
        REQUIRE(prong::os::wake_receiver(await.port().fd()));
        await.port().drain();
        CHECK_FALSE(is_readable(await.port().fd()));
    }
    CHECK(await.ends() == 0);
    gate->open();
    REQUIRE(becomes_readable(await.port().fd()));
    await.port().drain();
    CHECK(await.ends() == 1);
}

TEST_CASE("a port whose O_NONBLOCK was cleared does not block") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const AwaitedFuture await(pool.submit(pass(gate)));
    const int fd = await.port().fd();
    REQUIRE(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0);
    await.port().drain();
    await.port().check();
    CHECK(await.ends() == 0);
    gate->open();
}

TEST_CASE("many awaits that are removed while their tasks are queued leave nothing") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    const auto held = occupy(pool, gate);
    Future<int> future = pool.submit(square, 2);
    CompletionPort& port = CompletionPort::of(FutureAccess::task(future));
    for (int i = 0; i < 10'000; ++i) {
        Await await;
        REQUIRE(port.add(FutureAccess::task(future), await));
        REQUIRE(port.remove(await));
    }
    gate->open();
    CHECK(future.get() == 4);
}

TEST_CASE("in a process that was forked since, a port refuses its service") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    AwaitedFuture await(pool.submit(pass(gate)));
    check_child([&] {
        require_throws<std::logic_error>(
            [&] { CompletionPort::of(FutureAccess::task(await.future())); }, "not this process's");
    });
    gate->open();
}
