// Loops and workers that are threads: what ThreadSanitizer can follow.

#include "asio/loops.hpp"
#include "executor/thread_pool.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

using namespace prong::test;
using net::cancellation_type;

// (Not by coroutines: clang++ 16 keeps the address of a thread-local variable while one moves to
// another thread.)
TEST_CASE("several loops with several threads await tasks of thread workers") {
    constexpr int count = 300;
    std::atomic<int> calls = 0;
    std::atomic<int> wrong = 0;
    ThreadPool pool(2, 50);
    pool.start_all();
    net::thread_pool threads(2);
    net::io_context io;
    std::function<void(const net::any_io_executor&, int)> next =
        [&](const net::any_io_executor& executor, int left) {
            const auto submitted = [&, executor, left](const std::exception_ptr&,
                                                       Future<int> future) {
                const auto kept = std::make_shared<Future<int>>(std::move(future));
                const auto waited = [&, executor, left, kept](boost::system::error_code) {
                    const auto got = [&, executor, left](const std::exception_ptr&, int value) {
                        wrong += value == left + 1 ? 0 : 1;
                        ++calls;
                        if (left > 1) next(executor, left - 1);
                    };
                    async_get(executor, std::move(*kept), got);
                };
                async_wait(threads, *kept, net::bind_executor(executor, waited));
            };
            prong::async_submit(pool.with({}), std::plus<>(), left, 1)(executor, submitted);
        };
    for (int i = 0; i < 4; ++i) {
        next(io.get_executor(), count); // waits in one context, runs in the other
        next(threads.get_executor(), count);
    }
    in_threads(2, [&](int) { io.run(); });
    threads.join();
    CHECK(calls == 8 * count);
    CHECK(wrong == 0);
}

TEST_CASE("operations are cancelled while their tasks end") {
    ThreadPool pool(2);
    pool.start_all();
    std::atomic<int> calls = 0;
    in_threads(2, [&](int thread) {
        net::io_context io;
        for (int i = 0; i < 200; ++i) {
            net::cancellation_signal signal;
            Future<int> future = pool.submit(std::plus<>(), i, 1);
            const auto type = i % 2 == 0 ? cancellation_type::total : cancellation_type::partial;
            if (thread == 0)
                async_wait(io, future,
                           net::bind_cancellation_slot(
                               signal.slot(), [&](boost::system::error_code) { ++calls; }));
            else
                async_get(io, std::move(future),
                          net::bind_cancellation_slot(
                              signal.slot(), [&](const std::exception_ptr&, int) { ++calls; }));
            net::post(io, [&] { signal.emit(type); });
            io.run();
            io.restart();
        }
    });
    CHECK(calls == 400);
}

TEST_CASE("a loop is destroyed while another one ends its operations") {
    ThreadPool pool(2);
    pool.start_all();
    std::atomic<bool> stopped = false;
    std::atomic<int> calls = 0;
    std::jthread other([&] {
        net::io_context io;
        while (!stopped) {
            async_get(io, pool.submit(std::plus<>(), 1, 1), [](const std::exception_ptr&, int) {});
            io.run();
            io.restart();
        }
    });
    for (int round = 0; round < 100; ++round) {
        net::io_context io;
        for (int i = 0; i < 10; ++i)
            async_get(io, pool.submit(std::plus<>(), i, 1),
                      [&](const std::exception_ptr&, int) { ++calls; });
        if (round % 2 == 0) io.run_one();
    }
    stopped = true;
    other.join();
    CHECK(calls <= 50); // a step of a loop calls at most one handler
}

TEST_CASE("a map is taken in a loop, in order and as results come") {
    const auto ordered = GENERATE(true, false);
    ThreadPool pool(2, 10);
    pool.start_all();
    net::io_context io;
    int sum = 0;
    run_in(io, [&]() -> net::awaitable<void> {
        const prong::MapOptions options{.chunksize = 3, .ordered = ordered};
        auto map = prong::async_map(pool.with({}), options, square, std::views::iota(0, 300));
        while (const auto next = co_await map.async_next()) sum += *next;
    });
    CHECK(sum == 8'955'050);
}
