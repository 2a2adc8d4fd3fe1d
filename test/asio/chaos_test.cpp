// Workers are killed at random while loops await a great many tasks: every handler runs once.

#include "asio/loops.hpp"
#include "executor/killer.hpp"
#include "support/environment.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

using namespace prong::test;

TEST_CASE("workers are killed at random: every handler runs once") {
    const int tasks = full_run() ? 1'000'000 : 100'000;
    constexpr int window = 500; // of each loop
    ProcessPoolExecutor pool(3);
    static_cast<void>(pool.submit(square, 1).get());
    Killer killer(supervisor_of(getpid()));

    std::vector<std::atomic<int>> calls(static_cast<std::size_t>(tasks));
    std::atomic<int> next = 0;
    std::atomic<int> wrong = 0;
    std::atomic<int> died = 0;
    const auto note = [&](int n, const std::exception_ptr& error, int value) {
        ++calls.at(static_cast<std::size_t>(n));
        if (is_a<WorkerDied>(error))
            ++died;
        else if (error || value != square(n))
            ++wrong;
    };
    const auto await_tasks = [&]() -> net::awaitable<void> {
        for (int n = next++; n < tasks; n = next++) {
            Future<int> future = pool.submit(square, n);
            if (n % 8 == 0) co_await async_wait(future);
            if (n % 8 == 1) {
                prong::add_done_callback(co_await net::this_coro::executor, std::move(future),
                                         [&note, n](Future<int> ended) {
                                             const auto error = ended.exception();
                                             note(n, error, error ? 0 : ended.get());
                                         });
                continue;
            }
            const auto [error, value] =
                co_await async_get(std::move(future), net::as_tuple(net::use_awaitable));
            note(n, error, value);
        }
    };
    const auto loop = [&] {
        net::io_context io;
        for (int i = 0; i < window; ++i) net::co_spawn(io, await_tasks, net::detached);
        io.run();
    };
    {
        const std::jthread other(loop);
        loop();
    }
    const int kills = killer.stop();
    CHECK(kills > 0);
    CHECK(died <= kills);
    CHECK(wrong == 0);
    CHECK(std::ranges::all_of(calls, [](const auto& count) { return count == 1; }));
    CHECK(square_after_kills(pool, 5) == 25);
}
