// A pool whose workers are threads of the test: what ThreadSanitizer can follow.

#include "executor/helpers.hpp"
#include "executor/self_relay.hpp"
#include "executor/thread_pool.hpp"
#include "executor/worker/task_scope.hpp"
#include "ring/fixture.hpp"
#include "support/catch.hpp"

#include <prong/detail/completion_port.hpp>
#include <prong/pipe.hpp>
#include <prong/pool.hpp>
#include <prong/wait.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Future;
using prong::with_captures;
using prong::detail::AsyncCall;
using prong::detail::Deadline;
using prong::detail::FutureAccess;

namespace {

/// The work of a worker that dies: claims a task, and nothing more. Returns its record.
std::optional<std::uint32_t> claim_and_die(ThreadPool& pool, std::uint16_t worker) {
    std::optional<std::uint32_t> index;
    std::thread([&] {
        const auto claim = prong::test::claim(pool.state(), worker);
        if (claim) index = claim->index;
    }).join();
    return index;
}

std::string repeat(const std::string& text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}

/// What `Pool::apply_async` makes.
template <typename F, typename... Args>
std::shared_ptr<AsyncCall> call_async(ThreadPool& pool, F f, Args... args) {
    auto future = pool.submit(f, args...);
    std::vector<prong::detail::CallTask> tasks(1);
    tasks[0].handle = std::move(prong::detail::FutureAccess::task(future));
    return std::make_shared<AsyncCall>(pool.core(), std::move(tasks));
}

} // namespace

TEST_CASE("threads submit and get while thread workers run") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(3);
    pool.start_all();
    in_threads(4, [&](int thread) {
        for (int round = 0; round < 20; ++round) {
            std::vector<Future<int>> futures;
            for (int i = 0; i < 50; ++i) futures.push_back(pool.submit(std::plus<>(), thread, i));
            for (int i = 0; i < 50; ++i) {
                wrong += futures[static_cast<std::size_t>(i)].get() != thread + i ? 1 : 0;
            }
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("threads submit batches that are larger than the room for them") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(3, 20);
    pool.start_all();
    in_threads(3, [&](int thread) {
        for (int round = 0; round < 10; ++round) {
            auto futures = pool.submit_batch(square, std::views::iota(thread, thread + 100));
            const bool cancelled = futures.back().cancel();
            for (int i = 0; i < 99; ++i)
                wrong += futures[static_cast<std::size_t>(i)].get() != square(thread + i) ? 1 : 0;
            wrong += futures.back().cancelled() != cancelled ? 1 : 0;
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("threads may ask to cancel while another one takes a view") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(2);
    pool.start_all();
    for (int round = 0; round < 200; ++round) {
        auto future = pool.submit(repeat, "x", 3);
        future.wait();
        std::jthread canceller([&] { wrong += future.cancel() ? 1 : 0; });
        wrong += std::string_view(future.view()) == "xxx" ? 0 : 1;
    }
    CHECK(wrong == 0);
}

TEST_CASE("threads take tasks as they complete, cancel some and drop others") {
    constexpr int count = 300;
    std::atomic<int> wrong = 0;
    std::atomic<int> cancelled = 0;
    {
        ThreadPool pool(3, 200);
        pool.start_all();
        in_threads(4, [&](int thread) {
            std::vector<Future<std::string>> futures;
            for (int i = 0; i < count; ++i) {
                futures.push_back(pool.submit(repeat, std::string(100, 'x'), thread + 1));
                if (i % 5 == 0) futures.back() = pool.submit(repeat, std::string(100, 'y'), 1);
                if (i % 7 == 0) cancelled += futures.back().cancel() ? 1 : 0;
                if (i % 50 == 0) wrong += pool.core().stats().queued > 200 ? 1 : 0;
            }
            int ended = 0;
            for (auto& future : prong::as_completed(futures)) {
                ++ended;
                if (ended % 3 == 0) continue; // dropped
                try {
                    wrong += future.get().size() % 100 != 0 ? 1 : 0;
                } catch (const CancelledError&) {
                }
            }
            wrong += ended != count ? 1 : 0;
        });
        pool.drain();
        CHECK(pool.core().stats().cancelled == static_cast<std::uint64_t>(cancelled));
        CHECK(pool.core().stats().queued == 0);
    }
    CHECK(wrong == 0);
}

TEST_CASE("arguments and results too large for a record pass between threads whole") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(2);
    pool.start_all();
    in_threads(3, [&](int thread) {
        const std::string text(100 + static_cast<std::size_t>(thread) * 700, 'x');
        for (int i = 1; i < 60; ++i) {
            const std::string result = pool.submit(repeat, text, i).get();
            wrong += result.size() != text.size() * static_cast<std::size_t>(i) ? 1 : 0;
            wrong += result.find_first_not_of('x') != std::string::npos ? 1 : 0;
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("exceptions of tasks come to the threads that wait for them") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(2);
    pool.start_all();
    in_threads(3, [&](int thread) {
        for (int i = 0; i < 100; ++i) {
            auto future = pool.submit(
                [](int a, int b) -> int { throw std::out_of_range(std::to_string(a + b)); }, thread,
                i);
            try {
                future.get();
                ++wrong;
            } catch (const std::out_of_range& error) {
                wrong += error.what() != std::to_string(thread + i) ? 1 : 0;
            }
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("each task is either cancelled or runs once") {
    constexpr int count = 2000;
    std::vector<Counter> runs(3 * count);
    std::atomic<int> wrong = 0;
    std::atomic<int> cancelled = 0;
    const auto task = [&runs](int n) {
        return with_captures([place = &runs[static_cast<std::size_t>(n)]] { ++*place; });
    };
    {
        ThreadPool pool(2);
        pool.start_all();
        in_threads(3, [&](int thread) {
            std::vector<Future<void>> futures;
            for (int i = 0; i < count; ++i) {
                futures.push_back(pool.submit(task(thread * count + i)));
                if (i % 2 == 0) futures.back().cancel();
            }
            for (int i = 0; i < count; ++i) {
                Future<void>& future = futures[static_cast<std::size_t>(i)];
                const Counter& ran = runs[static_cast<std::size_t>(thread * count + i)];
                future.wait();
                const bool was_cancelled = future.cancelled();
                if (i % 2 != 0) wrong += was_cancelled ? 1 : 0;
                wrong += future.cancel() != was_cancelled ? 1 : 0;
                wrong += ran.load() != (was_cancelled ? 0 : 1) ? 1 : 0;
                cancelled += was_cancelled ? 1 : 0;
            }
        });
    }
    CHECK(wrong == 0);
    int ran = 0;
    for (const Counter& one : runs) ran += one.load();
    CHECK(ran + cancelled == 3 * count);
}

TEST_CASE("shutdown with cancel ends every future while workers run and threads submit") {
    for (int round = 0; round < 20; ++round) {
        Counter ran = 0;
        std::atomic<int> returned = 0;
        std::atomic<int> cancelled = 0;
        std::atomic<int> refused = 0;
        const auto task = with_captures([place = &ran] { ++*place; });
        ThreadPool pool(2);
        pool.start_all();
        {
            std::vector<std::jthread> threads;
            for (int thread = 0; thread < 2; ++thread) {
                threads.emplace_back([&] {
                    std::vector<Future<void>> futures;
                    try {
                        for (int i = 0; i < 4000; ++i) futures.push_back(pool.submit(task));
                    } catch (const prong::PoolShutdown&) {
                        ++refused;
                    }
                    for (auto& future : futures) {
                        future.wait();
                        ++(future.cancelled() ? cancelled : returned);
                    }
                });
            }
            REQUIRE(eventually([&] { return ran.load() > 0; }));
            pool.drain(true);
        }
        CHECK(ran == returned);
        CHECK(returned + cancelled <= 8000);
        if (refused == 0) CHECK(returned + cancelled == 8000);
        CHECK_THROWS_AS(pool.submit(task), prong::PoolShutdown);
    }
}

TEST_CASE("threads wait for the first of many and take them as they complete") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(2);
    pool.start_all();
    const auto submit_many = [&] {
        std::vector<Future<int>> futures;
        for (int i = 0; i < 300; ++i) futures.push_back(pool.submit(square, i));
        return futures;
    };
    std::jthread first([&] {
        for (auto futures = submit_many(); !futures.empty();) {
            const auto result = prong::wait(futures, prong::ReturnWhen::first_completed);
            wrong += result.done.empty() ? 1 : 0;
            wrong += result.done.size() + result.not_done.size() != futures.size() ? 1 : 0;
            for (const std::size_t i : result.done) wrong += futures[i].done() ? 0 : 1;
            for (const std::size_t i : result.done) futures[i] = {};
            std::erase_if(futures, [](const auto& future) { return !future.valid(); });
        }
    });
    std::jthread completed([&] {
        for (int round = 0; round < 5; ++round) {
            auto futures = submit_many();
            long sum = 0;
            for (auto& future : prong::as_completed(futures)) sum += future.get();
            wrong += sum != 299L * 300 * 599 / 6 ? 1 : 0;
        }
    });
    std::jthread all([&] {
        for (int round = 0; round < 5; ++round) {
            auto futures = submit_many();
            wrong += prong::wait(futures).not_done.empty() ? 0 : 1;
        }
    });
    for (auto* const thread : {&first, &completed, &all}) thread->join();
    CHECK(wrong == 0);
}

TEST_CASE("threads wait for room while workers make it") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(2, 4);
    pool.start_all();
    in_threads(3, [&](int) {
        std::vector<Future<int>> futures;
        for (int i = 0; i < 500; ++i) futures.push_back(pool.submit(square, i));
        for (int i = 0; i < 500; ++i) {
            wrong += futures[static_cast<std::size_t>(i)].get() != i * i ? 1 : 0;
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("what is queued runs before the workers leave, and futures outlive the pool") {
    Counter ran = 0;
    std::vector<Future<int>> futures;
    {
        ThreadPool pool(2);
        const auto task = with_captures([place = &ran](int n) {
            ++*place;
            return n;
        });
        for (int i = 0; i < 1000; ++i) futures.push_back(pool.submit(task, i));
        for (int i = 0; i < 1000; ++i) static_cast<void>(pool.submit(task, i)); // dropped
        pool.start_all();
        pool.drain();
        CHECK(ran == 2000);
    }
    for (int i = 0; i < 1000; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
}

TEST_CASE("idle workers that sleep are woken for every task") {
    ThreadPool pool(3);
    pool.start_all();
    for (int i = 0; i < 50; ++i) {
        REQUIRE(eventually([&] { return pool.state().notifier.searching() == 0; }));
        REQUIRE(pool.submit(square, i).get() == i * i);
    }
}

TEST_CASE("the task of a thread that dies fails with WorkerDied, and no other") {
    ThreadPool pool(2);
    auto victim = pool.submit(square, 1);
    REQUIRE(claim_and_die(pool, 0));
    CHECK(victim.running());
    CHECK_FALSE(victim.cancel());
    std::vector<Future<int>> others;
    for (int i = 0; i < 100; ++i) others.push_back(pool.submit(square, i));
    std::optional<WorkerDied> death;
    {
        const std::jthread waiter([&] { death = error_of<WorkerDied>(victim); });
        pool.start(1);
        prong::executor::repair_after_death(pool.state(), 0,
                                            {.exit = {.pid = 4711, .exitcode = -11}});
    }
    REQUIRE(death);
    CHECK(death->pid() == 4711);
    CHECK(death->signal() == 11);
    for (int i = 0; i < 100; ++i) CHECK(others[static_cast<std::size_t>(i)].get() == i * i);
}

TEST_CASE("workers die again and again while another works and threads wait") {
    constexpr int count = 1500;
    std::atomic<int> wrong = 0;
    std::atomic<int> died = 0;
    std::atomic<bool> over = false;
    int deaths = 0;
    ThreadPool pool(2);
    auto first = pool.submit(square, 1);
    REQUIRE(claim_and_die(pool, 0)); // one at least, however fast the other is
    prong::executor::repair_after_death(pool.state(), 0, {.exit = {.pid = 1, .exitcode = -9}});
    ++deaths;
    CHECK_THROWS_AS(first.get(), WorkerDied);
    pool.start(1);
    {
        std::jthread reaper([&] {
            while (!over) {
                const bool claimed = claim_and_die(pool, 0).has_value();
                prong::executor::repair_after_death(pool.state(), 0,
                                                    {.exit = {.pid = 1, .exitcode = -9}});
                deaths += claimed ? 1 : 0;
            }
        });
        in_threads(3, [&](int) {
            std::vector<Future<int>> futures;
            for (int i = 0; i < count; ++i) futures.push_back(pool.submit(square, i));
            for (int i = 0; i < count; ++i) {
                try {
                    wrong += futures[static_cast<std::size_t>(i)].get() != i * i ? 1 : 0;
                } catch (const WorkerDied&) {
                    ++died;
                }
            }
        });
        over = true;
    }
    CHECK(wrong == 0);
    CHECK(died + 1 == deaths);
}

TEST_CASE("a worker that dies between two tasks harms none") {
    ThreadPool pool(2);
    auto future = pool.submit(square, 3);
    pool.start(1);
    future.wait();
    CHECK_FALSE(claim_and_die(pool, 0));
    prong::executor::repair_after_death(pool.state(), 0, {.exit = {.pid = 1, .exitcode = -9}});
    CHECK(future.get() == 9);
    CHECK(pool.submit(square, 4).get() == 16);
}

TEST_CASE("payload that was lost by a worker's death is there again when no task is left") {
    ThreadPool pool(2);
    const auto usage = [&] { return pool.state().payload.usage(); };
    auto future = pool.submit(square, 3);
    REQUIRE(claim_and_die(pool, 0));
    std::atomic<std::uint64_t> unnoted;
    REQUIRE(pool.state().payload.allocate(1 << 20, 0, unnoted));
    prong::executor::repair_after_death(pool.state(), 0, {.exit = {.pid = 1, .exitcode = -9}});
    CHECK_THROWS_AS(future.get(), WorkerDied);
    CHECK(usage().owned == 1);
    pool.start(1);
    const std::string text(100'000, 'x'); // it takes a payload block, and is not disturbed
    CHECK(pool.submit(repeat, text, 2).get().size() == 200'000);
    CHECK(usage().owned == 0);
}

TEST_CASE("a task that a dead worker has left is tried again by any free worker") {
    ThreadPool pool(2);
    auto future = pool.with({.max_retries = 1}).submit(square, 3);
    REQUIRE(claim_and_die(pool, 0));
    prong::executor::repair_after_death(pool.state(), 0, {.exit = {.pid = 1, .exitcode = -9}});
    CHECK_FALSE(future.done());
    pool.start(1);
    CHECK(future.get() == 9);
}

TEST_CASE("threads cancel and ask to stop what another thread is taking, up to the pool's end") {
    constexpr std::size_t count = 40;
    std::atomic<int> wrong = 0;
    for (int round = 0; round < 30; ++round) {
        std::optional<ThreadPool> pool(2);
        std::vector<Future<int>> futures;
        std::vector<std::atomic<bool>> cancelled(count);
        for (std::size_t i = 0; i < count; ++i)
            futures.push_back(pool->submit(square, static_cast<int>(i)));
        {
            const std::jthread canceller([&](const std::stop_token& over) {
                while (!over.stop_requested()) {
                    for (std::size_t i = 0; i < count; i += 3)
                        if (futures[i].cancel()) cancelled[i] = true;
                }
            });
            const std::jthread stopper([&](const std::stop_token& over) {
                while (!over.stop_requested()) {
                    for (Future<int>& future : futures) static_cast<void>(future.request_stop());
                }
            });
            const std::jthread ender([&pool] {
                pool->start_all();
                pool.reset(); // the futures alone keep the core from then on
            });
            for (std::size_t i = 0; i < count; ++i) {
                try {
                    wrong += futures[i].get() != static_cast<int>(i * i) ? 1 : 0;
                    wrong += cancelled[i] ? 1 : 0;
                } catch (const CancelledError&) {
                }
            }
        }
        for (Future<int>& future : futures) {
            wrong += future.valid() ? 1 : 0;
            wrong += future.cancel() || future.request_stop() || future.kill() ? 1 : 0;
        }
    }
    CHECK(wrong == 0);
}

TEST_CASE("threads make calls with callbacks, and others wait for them") {
    std::atomic<int> sum = 0;
    std::atomic<int> wrong = 0;
    ThreadPool pool(3);
    prong::detail::CallbackThread callbacks(pool.core());
    pool.start_all();
    in_threads(4, [&](int thread) {
        callbacks.start();
        for (int i = 0; i < 50; ++i) {
            const auto call = call_async(pool, std::plus<>(), thread, i);
            int received = 0;
            call->set_callback([&] {
                received = prong::detail::decode_result<int>(*call);
                sum += received;
            });
            callbacks.add(call);
            std::jthread other([call] { static_cast<void>(call->wait_until(Deadline::never())); });
            static_cast<void>(call->wait_until(Deadline::never()));
            wrong += received != thread + i ? 1 : 0;
        }
    });
    callbacks.wait_until_idle();
    CHECK(sum == 50 * (0 + 1 + 2 + 3) + 4 * (49 * 50 / 2));
    CHECK(wrong == 0);
}

TEST_CASE("the callback thread is stopped while calls end and others are made") {
    std::atomic<int> calls = 0;
    std::atomic<int> ended = 0;
    ThreadPool pool(2);
    pool.start_all();
    {
        prong::detail::CallbackThread callbacks(pool.core());
        callbacks.start();
        in_threads(3, [&](int thread) {
            for (int i = 0; i < 50; ++i) {
                const auto call = call_async(pool, square, i);
                call->set_callback([&] { ++calls; });
                callbacks.add(call);
                if (thread == 0 && i == 25) callbacks.stop();
                ended += call->wait_until(Deadline::never()) ? 1 : 0;
            }
        });
    }
    CHECK(ended == 150);
    CHECK(calls < 150);
}

TEST_CASE("loops await tasks that thread workers end and others cancel") {
    /// Counts the ends that it is told of.
    class Await final : public prong::detail::AwaitedTask {
    public:
        void ended() noexcept override { ends.fetch_add(1); }
        std::atomic<int> ends = 0;
    };
    std::atomic<int> wrong = 0;
    ThreadPool pool(2);
    pool.start_all();
    in_threads(3, [&](int thread) {
        prong::detail::CompletionPort& port = pool.core().port();
        for (int round = 0; round < 10; ++round) {
            std::vector<Future<int>> futures;
            std::vector<Await> awaits(40);
            for (Await& await : awaits) {
                futures.push_back(pool.submit(square, thread));
                const auto& task = FutureAccess::task(futures.back());
                if (!port.add(task, await)) await.ends = 1;
            }
            for (std::size_t i = 0; i < futures.size(); i += 8) futures[i].cancel();
            // The first is taken out, unless it has ended.
            const bool is_out = port.remove(awaits.front());
            for (Await& await : awaits) {
                const bool is_awaited = &await != &awaits.front() || !is_out;
                wrong += !is_awaited || eventually([&] {
                    port.drain();
                    return await.ends == 1;
                })
                             ? 0
                             : 1;
            }
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("threads wait for futures together with descriptors") {
    std::atomic<int> wrong = 0;
    ThreadPool pool(2);
    pool.start_all();
    in_threads(3, [&](int thread) {
        auto [near, far] = prong::Pipe();
        for (int i = 0; i < 40; ++i) {
            Future<int> future = pool.submit(square, thread);
            const std::vector<std::size_t> ready = prong::wait({near, future});
            wrong += ready == std::vector<std::size_t>{1} ? 0 : 1;
        }
    });
    CHECK(wrong == 0);
}

TEST_CASE("threads submit, cancel, kill and get while a relay runs in a thread") {
    const unsigned workers = GENERATE(0U, 1U); // beside the relay
    std::atomic<int> wrong = 0;
    ThreadPool pool(workers, ThreadPool::no_limit, {.relay = {.claims = 8, .is_family = true}});
    pool.start_all();
    const std::jthread relay([&] {
        prong::executor::RelayPort port(pool.state(), {});
        relay_tasks(port, [taken = 0](prong::executor::RelayPort& own, const auto& task) mutable {
            own.assign(task.claim, 1);
            if (++taken % 7 == 0) return own.take_back(task.claim);
            const bool is_lost = task.options && task.attempt == 1;
            is_lost ? static_cast<void>(own.lose(task.claim, "far", "")) : run_as_sent(own, task);
        });
    });
    in_threads(3, [&](int thread) {
        for (int i = 0; i < 200; ++i) {
            const prong::TaskOptions retried{.max_retries = i % 2};
            auto future = pool.submit_with(&retried, repeat, std::string(100, 'x'), thread);
            // A worker that is a thread cannot be killed.
            const bool is_cancelled =
                (i % 5 == 0 && future.cancel()) || (i % 5 == 1 && workers == 0 && future.kill());
            if (i % 5 == 2) continue; // drop it
            if (i % 5 == 3) future.request_stop();
            try {
                const bool is_right = future.get() == repeat(std::string(100, 'x'), thread);
                wrong += is_right && !is_cancelled ? 0 : 1;
            } catch (const prong::CancelledError&) {
                wrong += is_cancelled || i % 5 == 3 ? 0 : 1;
            } catch (const prong::RankLost&) { // it was asked to stop
                wrong += i % 5 == 3 ? 0 : 1;
            }
        }
    });
    pool.drain();
    CHECK(wrong == 0);
}
