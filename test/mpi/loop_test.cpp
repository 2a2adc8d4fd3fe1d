// Tasks on other ranks in the loops of Asio: every operation takes a MpiPoolExecutor.

#include "mpi/helpers.hpp"
#include "support/catch.hpp"

#include <prong/asio.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <csignal>
#include <functional>
#include <numeric>
#include <ranges>

using namespace prong::test;
namespace net = boost::asio;
using namespace net::experimental::awaitable_operators;

namespace {

int crash() {
    return std::raise(SIGSEGV);
}

/// Runs the coroutine to its end.
void run(const std::function<net::awaitable<void>()>& body) {
    net::io_context io;
    std::exception_ptr failure;
    net::co_spawn(io, body, [&](std::exception_ptr error) { failure = std::move(error); });
    io.run();
    if (failure) std::rethrow_exception(failure);
}

net::awaitable<void> await_each_end(MpiPoolExecutor& pool) {
    auto future = co_await prong::async_submit(pool, square, 7)();
    const int value = co_await prong::async_get(std::move(future));
    CHECK(value == 49);
    CHECK_THROWS_AS(co_await prong::async_get(pool.submit(crash)), WorkerDied);

    const FileGate gate;
    auto limited = pool.with(TaskOptions{.timeout = 100ms}).submit(pass, gate.path(), 1);
    CHECK_THROWS_AS(co_await prong::async_get(std::move(limited)), prong::TaskTimeout);

    auto killed = pool.submit(pass, gate.path(), 2);
    net::steady_timer timer(co_await net::this_coro::executor, 100ms);
    const auto first =
        co_await (prong::async_get(std::move(killed), net::as_tuple(net::use_awaitable)) ||
                  timer.async_wait(net::use_awaitable));
    CHECK(first.index() == 1);
    const int later = co_await prong::async_get(pool.submit(square, 3));
    CHECK(later == 9); // the worker was replaced
}

net::awaitable<void> await_maps(MpiPoolExecutor& pool) {
    auto squares = prong::async_map(pool, square, std::views::iota(0, 1000));
    int expected = 0;
    while (const auto next = co_await squares.async_next()) {
        if (*next != square(expected)) break;
        ++expected;
    }
    CHECK(expected == 1000);
    const auto all = co_await prong::async_map(pool, square, std::views::iota(0, 100))();
    CHECK(std::accumulate(all.begin(), all.end(), 0) == 328'350);
}

} // namespace

TEST_CASE("tasks and maps on other ranks are awaited, whatever their end") {
    MpiPoolExecutor pool(MpiOptions{.workers_per_host = 1, .ranks = 1});
    run([&]() -> net::awaitable<void> {
        co_await await_each_end(pool);
        co_await await_maps(pool);
        int called_back = 0;
        prong::add_done_callback(co_await net::this_coro::executor, pool.submit(square, 4),
                                 [&](Future<int> future) { called_back = future.get(); });
        co_await prong::async_shutdown(pool);
        CHECK(pool.join_for(1min));
        CHECK(called_back == 16);
    });
}

TEST_CASE("a full pool on other ranks is waited for without blocking") {
    MpiPoolExecutor pool(MpiOptions{.workers_per_host = 1, .ranks = 1, .pool = {.max_pending = 4}});
    int sum = 0;
    net::io_context io;
    for (int i = 0; i < 200; ++i) {
        prong::async_submit(pool, square,
                            i)(io, [&](const std::exception_ptr& error, Future<int> future) {
            if (error) std::rethrow_exception(error);
            prong::async_get(io, std::move(future),
                             [&](const std::exception_ptr& failure, int value) {
                                 if (failure) std::rethrow_exception(failure);
                                 sum += value;
                             });
        });
    }
    io.run();
    CHECK(sum == 2'646'700);
}

TEST_CASE("the loss of a rank completes what awaits its tasks") {
    MpiPoolExecutor pool(MpiOptions{.workers_per_host = 1, .ranks = 1, .rank_timeout = 1s});
    const FileGate gate;
    auto task = pool.submit(pass, gate.path(), 1);
    REQUIRE(gate.await_arrivals(1));
    const auto servers = Job::now().servers;
    REQUIRE(servers.size() == 1);
    run([&]() -> net::awaitable<void> {
        kill(servers.front(), SIGKILL);
        CHECK_THROWS_AS(co_await prong::async_get(std::move(task)), RankLost);
        const int later = co_await prong::async_get(pool.submit(square, 5));
        CHECK(later == 25); // by the next job
    });
}
