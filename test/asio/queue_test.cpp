// Queues in the loops of Asio.

#include "asio/basics.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "support/eventually.hpp"
#include "support/leaks.hpp"
#include "sync/family.hpp"

#include <prong/process.hpp>
#include <prong/queue.hpp>
#include <prong/shared_buffer.hpp>

#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/deferred.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using namespace boost::asio::experimental::awaitable_operators;
using net::cancellation_type;
using prong::EndOfFile;
using prong::JoinableQueue;
using prong::ObjectGone;
using prong::Process;
using prong::Queue;
using prong::QueueClosed;

namespace {

std::size_t threads() {
    return Holdings::now().threads.size();
}

/// What an operation has ended with.
struct End {
    int calls = 0;
    std::exception_ptr error;
    int value = 0;

    auto handler() {
        return [this](std::exception_ptr e, int n = 0) {
            ++calls;
            error = std::move(e);
            value = n;
        };
    }
};

/// Its bytes are numbers that must be equal.
struct Item {
    std::vector<std::uint32_t> copies;

    [[nodiscard]] std::uint32_t number() const { return copies.front(); }
    [[nodiscard]] bool is_whole() const {
        return std::set(copies.begin(), copies.end()).size() == 1;
    }
};

/// What becomes of each item, in memory that processes share.
struct Log {
    static constexpr std::uint32_t most = 1 << 20;
    std::atomic<std::uint32_t> begun;
    std::array<std::atomic<bool>, most> was_put; ///< `put` has returned
    std::array<std::atomic<std::uint8_t>, most> received;
    std::atomic<bool> was_torn;

    void receive(const Item& item) {
        if (!item.is_whole()) was_torn = true;
        ++received[item.number()];
    }
};

} // namespace

TEST_CASE("items pass through a loop, whatever the token") {
    net::io_context io;
    const Queue<int> queue(1);
    SECTION("callbacks") {
        End got;
        End put;
        queue.async_get(io, got.handler());
        io.poll();
        queue.async_put(io, 7, put.handler());
        REQUIRE((got.calls == 0 && put.calls == 0));
        io.restart();
        io.run();
        REQUIRE((put.calls == 1 && !put.error));
        REQUIRE((got.calls == 1 && !got.error && got.value == 7));
    }
    SECTION("callbacks with executors of their own") {
        End got;
        End put;
        const auto strand = net::make_strand(io);
        queue.async_put(7, net::bind_executor(strand, put.handler()));
        queue.async_get(net::bind_executor(strand, got.handler()));
        io.run();
        REQUIRE(got.value == 7);
    }
    SECTION("use_future") {
        auto got = queue.async_get(io, net::use_future);
        auto put = queue.async_put(io, 7, net::use_future);
        io.run();
        put.get();
        REQUIRE(got.get() == 7);
    }
    SECTION("awaitables") {
        run_in(io, [&]() -> net::awaitable<void> {
            co_await queue.async_put(1);
            require_equal(co_await queue.async_get(), 1);
            co_await queue.async_put(io, 2);
            require_equal(co_await queue.async_get(io), 2);
            co_await queue.async_put(3, net::use_awaitable);
            const auto [error, value] =
                co_await queue.async_get(net::experimental::as_tuple(net::use_awaitable));
            REQUIRE((!error && value == 3));
        });
    }
    SECTION("deferred") {
        auto get = queue.async_get(net::experimental::deferred);
        queue.put(4);
        End got;
        std::move(get)(net::bind_executor(io, got.handler()));
        io.run();
        REQUIRE(got.value == 4);
    }
}

TEST_CASE("a loop and processes that block exchange thousands of items") {
    constexpr int count = 5'000;
    net::io_context io;
    const Queue<int> there(10);
    const Queue<int> back(10);
    Process process([&] {
        for (int i = 0; i < count; ++i) back.put(there.get() + 1);
    });
    process.start();
    const auto put = [&]() -> net::awaitable<void> {
        for (int i = 0; i < count; ++i) co_await there.async_put(i);
    };
    int received = 0;
    const auto get = [&]() -> net::awaitable<void> {
        for (int i = 0; i < count; ++i) received += (co_await back.async_get()) == i + 1;
    };
    run_in(io, [&]() -> net::awaitable<void> { co_await (put() && get()); });
    REQUIRE(received == count);
}

TEST_CASE("of many that wait for items, each gets one") {
    constexpr int count = 500;
    net::io_context io;
    const Queue<int> queue;
    std::vector<End> ends(count);
    for (End& end : ends) queue.async_get(io, end.handler());
    io.poll();
    Process process([&] {
        for (int i = 0; i < count; ++i) queue.put(i);
    });
    process.start();
    io.run();
    std::set<int> values;
    for (const End& end : ends) {
        REQUIRE((end.calls == 1 && !end.error));
        values.insert(end.value);
    }
    REQUIRE(values.size() == count);
    REQUIRE(queue.empty());
}

TEST_CASE("more queues than the kernel waits for at once") {
    constexpr std::size_t count = 150;
    net::io_context io;
    std::vector<Queue<int>> queues(count);
    std::vector<End> ends(count);
    for (std::size_t i = 0; i < count; ++i) queues[i].async_get(io, ends[i].handler());
    io.poll();
    Process process([&] {
        for (const auto& queue : std::views::reverse(queues)) queue.put(7);
    });
    process.start();
    io.run();
    for (const End& end : ends) REQUIRE(end.value == 7);
}

TEST_CASE("a get that is cancelled, or whose context ends, takes no item") {
    const Queue<int> queue;
    auto alive = std::make_shared<int>();
    {
        net::io_context io;
        net::cancellation_signal signal;
        End end;
        const auto type = GENERATE(cancellation_type::total, cancellation_type::partial,
                                   cancellation_type::terminal);
        const bool waits = GENERATE(false, true);
        const bool is_ready = GENERATE(false, true);
        queue.async_get(io, net::bind_cancellation_slot(signal.slot(), end.handler()));
        if (waits) io.poll();
        if (is_ready) queue.put(1);
        signal.emit(type);
        REQUIRE(end.calls == 0);
        io.restart();
        io.run();
        REQUIRE(end.calls == 1);
        REQUIRE(is_aborted(end.error));
        if (!is_ready) queue.put(1);
        queue.async_get(io, [alive](const std::exception_ptr&, int) {});
        REQUIRE(alive.use_count() == 2);
    }
    REQUIRE(alive.use_count() == 1);
    REQUIRE(queue.get() == 1);
    {
        net::io_context io;
        queue.async_get(io, [alive](const std::exception_ptr&, int) {});
        io.poll();
        queue.put(2);
    }
    REQUIRE(alive.use_count() == 1);
    REQUIRE(queue.get() == 2);
}

TEST_CASE("an item goes on to the next that waits when a get is cancelled") {
    net::io_context io;
    const Queue<int> queue;
    net::cancellation_signal signal;
    End first;
    End second;
    queue.async_get(io, net::bind_cancellation_slot(signal.slot(), first.handler()));
    queue.async_get(io, second.handler());
    io.poll();
    queue.put(7);
    REQUIRE(eventually([&] { // until the first is notified
        io.restart();
        signal.emit(cancellation_type::total);
        io.poll();
        return second.calls == 1;
    }));
    REQUIRE(first.calls == 1);
    REQUIRE(second.value == 7);
}

TEST_CASE("a timer beside async_get loses no item") {
    net::io_context io;
    const Queue<int> queue;
    constexpr int count = 300;
    Process process([&] {
        for (int i = 0; i < count; ++i) {
            std::this_thread::sleep_for(std::chrono::microseconds(i % 50));
            queue.put(i);
        }
    });
    process.start();
    run_in(io, [&]() -> net::awaitable<void> {
        for (int i = 0; i < count;) {
            net::steady_timer timer(io, std::chrono::microseconds(i % 70));
            const auto result =
                co_await (queue.async_get() || timer.async_wait(net::use_awaitable));
            if (result.index() == 0) REQUIRE(std::get<0>(result) == i++);
        }
    });
}

TEST_CASE("the end of a queue ends what waits for it") {
    net::io_context io;
    std::optional<Queue<int>> queue(1);
    queue->put(1);
    End first;
    End second;
    End put;
    queue->async_get(io, first.handler());
    io.run();
    queue->put(2);
    queue->async_put(io, 3, put.handler());
    io.restart();
    io.poll();
    REQUIRE(put.calls == 0);
    SECTION("closed") {
        queue->close();
        io.run();
        REQUIRE(is_a<QueueClosed>(put.error));
        queue->async_get(io, first.handler());
        queue->async_get(io, second.handler());
        io.restart();
        io.run();
        REQUIRE(first.value == 2);
        REQUIRE(is_a<EndOfFile>(second.error));
    }
    SECTION("closed while empty") {
        REQUIRE(queue->get() == 2);
        io.run();
        REQUIRE(!put.error);
        REQUIRE(queue->get() == 3);
        queue->async_get(io, second.handler());
        io.restart();
        io.poll();
        queue->close();
        io.run();
        REQUIRE(is_a<EndOfFile>(second.error));
    }
    SECTION("destroyed") {
        queue.reset();
        io.run();
        REQUIRE(is_a<ObjectGone>(put.error));
    }
}

TEST_CASE("a put waits for room, and has put nothing if it is cancelled") {
    net::io_context io;
    const Queue<int> queue(1);
    queue.put(1);
    net::cancellation_signal signal;
    End cancelled;
    End put;
    queue.async_put(io, 2, net::bind_cancellation_slot(signal.slot(), cancelled.handler()));
    queue.async_put(io, 3, put.handler());
    io.poll();
    REQUIRE((cancelled.calls == 0 && put.calls == 0));
    signal.emit(cancellation_type::total);
    Process process([&] {
        require(queue.get() == 1, "the first");
        require(queue.get() == 3, "the second");
    });
    process.start();
    io.run();
    REQUIRE(is_aborted(cancelled.error));
    REQUIRE((put.calls == 1 && !put.error));
    process.join();
    REQUIRE(process.exitcode() == 0);
}

TEST_CASE("an item whose consumer has died comes to a loop that waits") {
    net::io_context io;
    const JoinableQueue<int> queue;
    End end;
    queue.put(7);
    Sleeper consumer([&] { (void)queue.get(); });
    queue.async_get(io, end.handler());
    io.poll();
    REQUIRE(end.calls == 0);
    consumer.kill();
    io.run();
    REQUIRE(end.value == 7);
    REQUIRE(!queue.join_for(0s));
    queue.task_done();
    queue.join();
}

TEST_CASE("a buffer moves through a loop") {
    net::io_context io;
    const Queue<prong::SharedBuffer<int>> queue(1);
    run_in(io, [&]() -> net::awaitable<void> {
        prong::SharedBuffer<int> buffer(100);
        buffer[7] = 7;
        co_await queue.async_put(std::move(buffer));
        const auto received = co_await queue.async_get();
        REQUIRE((received.size() == 100 && received[7] == 7));
    });
}

TEST_CASE("the thread that serves waits ends soon after the last of them") {
    const Queue<int> queue;
    const std::size_t before = threads();
    {
        net::io_context io;
        End end;
        queue.async_get(io, end.handler());
        io.poll();
        REQUIRE(threads() == before + 1);
        queue.async_get(io, end.handler());
        io.poll();
        REQUIRE(threads() == before + 1);
        queue.put(1);
        queue.put(2);
        io.run();
    }
    REQUIRE(eventually([&] { return threads() == before; }));
}

TEST_CASE("loops in several threads take each item once") {
    constexpr int count = 3'000;
    const Queue<int> queue(100);
    std::array<std::vector<int>, 3> received;
    const auto receive = [&](std::vector<int>& values) -> net::awaitable<void> {
        try {
            for (;;) values.push_back(co_await queue.async_get());
        } catch (const EndOfFile&) {
        }
    };
    std::vector<std::thread> consumers;
    for (auto& values : received) {
        consumers.emplace_back([&] {
            net::io_context io;
            run_in(io, [&] { return receive(values); });
        });
    }
    for (int i = 0; i < count; ++i) queue.put(i);
    queue.close();
    for (std::thread& consumer : consumers) consumer.join();
    std::set<int> all;
    std::size_t total = 0;
    for (const auto& values : received) {
        all.insert(values.begin(), values.end());
        total += values.size();
    }
    REQUIRE((all.size() == count && total == count));
}

TEST_CASE("a context with several threads takes each item once") {
    constexpr int count = 3'000;
    const Queue<int> queue(100);
    net::io_context io;
    std::atomic<int> received = 0;
    std::atomic<int> sum = 0;
    const auto receive = [&]() -> net::awaitable<void> {
        try {
            for (;; ++received) sum += co_await queue.async_get();
        } catch (const EndOfFile&) {
        }
    };
    for (int i = 0; i < 4; ++i) net::co_spawn(io, receive, net::detached);
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { io.run(); });
    for (int i = 0; i < count; ++i) queue.put(i);
    queue.close();
    for (std::thread& thread : threads) thread.join();
    REQUIRE(received == count);
    REQUIRE(sum == count * (count - 1) / 2);
}

TEST_CASE("a child of a program whose loop waits may have a loop of its own") {
    auto io = std::make_unique<net::io_context>();
    const Queue<int> queue;
    const Queue<int> answers;
    End end;
    queue.async_get(*io, end.handler());
    queue.async_get(*io, end.handler());
    io->poll();
    check_child([&] {
        io->notify_fork(net::io_context::fork_child); // else it harms the parent's
        net::io_context loop;
        answers.put(1);
        run_in(loop, [&]() -> net::awaitable<void> {
            require(co_await answers.async_get() == 1, "an item that is there");
            net::co_spawn(
                loop, [&]() -> net::awaitable<void> { co_await answers.async_put(2); },
                net::detached);
            require(co_await answers.async_get() == 2, "an item that comes");
        });
        io.reset();
        answers.put(3);
    });
    REQUIRE(answers.get() == 3);
    REQUIRE(end.calls == 0);
    queue.put(1);
    queue.put(2);
    io->run();
    REQUIRE(end.calls == 2);
}

TEST_CASE("a loop loses no item and gets none twice, whichever process is killed") {
    const Shared<Log> log;
    const Queue<Item> queue(50);
    std::mt19937_64 random(test_seed());
    const auto produce = [&] {
        std::mt19937_64 own(std::random_device{}());
        for (;;) {
            const std::uint32_t number = log->begun.fetch_add(1);
            if (number >= Log::most) sleep_for_ever();
            queue.put(Item{std::vector<std::uint32_t>(1 + own() % 500, number)});
            log->was_put[number] = true;
        }
    };
    const auto start = [](auto function) {
        auto process = std::make_unique<Process>(function);
        process->start();
        return process;
    };

    net::io_context io;
    const auto receive = [&]() -> net::awaitable<void> {
        try {
            for (;;) log->receive(co_await queue.async_get());
        } catch (const EndOfFile&) {
        }
    };
    for (int i = 0; i < 3; ++i) net::co_spawn(io, receive, net::detached);
    std::thread loop([&] { io.run(); });

    std::vector<std::unique_ptr<Process>> processes(4);
    const int deaths = how_often(100, 3'000);
    for (int i = 0; i < deaths; ++i) {
        auto& process = processes[random() % processes.size()];
        if (process) {
            process->kill();
            process->join();
        }
        process = start(produce);
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    }
    for (auto& process : processes) {
        if (process) process->kill();
    }
    processes.clear();
    queue.close();
    loop.join();
    CHECK(!log->was_torn);
    std::uint32_t lost = 0;
    std::uint32_t doubled = 0;
    for (std::uint32_t i = 0; i < std::min(log->begun.load(), Log::most); ++i) {
        lost += log->was_put[i] && log->received[i] == 0;
        doubled += log->received[i] > 1;
    }
    CHECK(lost == 0);
    CHECK(doubled == 0);
    CHECK(log->begun > 100);
}
