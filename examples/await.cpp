// Awaits tasks in an event loop. One crashes, and one is killed by a timer; the loop goes on.

#include <prong/asio.hpp>
#include <prong/prong.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <csignal>
#include <exception>
#include <iostream>
#include <ranges>
#include <thread>

namespace asio = boost::asio;
using namespace std::chrono_literals;
using namespace asio::experimental::awaitable_operators;

namespace {

int square(int n) {
    return n * n;
}

int crash() {
    return std::raise(SIGSEGV);
}

int hang() {
    for (;;) std::this_thread::sleep_for(1s);
}

asio::awaitable<void> count_ticks(int& ticks) {
    asio::steady_timer timer(co_await asio::this_coro::executor);
    for (;; ++ticks) {
        timer.expires_after(10ms);
        co_await timer.async_wait(asio::use_awaitable);
    }
}

asio::awaitable<void> await_tasks(prong::ProcessPoolExecutor& pool) {
    const int result = co_await prong::async_get(pool.submit(square, 7));
    std::cout << "awaited: " << result << std::endl;

    try {
        co_await prong::async_get(pool.submit(crash));
    } catch (const prong::WorkerDied& error) {
        std::cout << "crashed: signal " << error.signal() << std::endl;
    }

    asio::steady_timer timer(co_await asio::this_coro::executor, 100ms);
    // As a tuple: else `||` would drop the exception of a task that fails, and wait for the timer.
    const auto first =
        co_await (prong::async_get(pool.submit(hang), asio::as_tuple(asio::use_awaitable)) ||
                  timer.async_wait(asio::use_awaitable));
    std::cout << (first.index() == 1 ? "hangs: killed by the timer" : "has ended") << std::endl;

    auto squares = prong::async_map(pool, square, std::views::iota(0, 5));
    while (const auto next = co_await squares.async_next())
        std::cout << "square: " << *next << std::endl;

    co_await prong::async_shutdown(pool);
}

} // namespace

int main() {
    prong::ProcessPoolExecutor pool(2);
    asio::io_context io;
    int ticks = 0;
    asio::co_spawn(io, await_tasks(pool) || count_ticks(ticks), [](std::exception_ptr error, auto) {
        if (error) std::rethrow_exception(error);
    });
    io.run();
    std::cout << (ticks > 0 ? "the loop has gone on meanwhile" : "the loop was blocked")
              << std::endl;
}
