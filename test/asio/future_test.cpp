// Futures in the loops of Asio: tokens, executors, cancellation, deaths, and who is destroyed
// first.

#include "asio/loops.hpp"
#include "support/check_child.hpp"
#include "support/leaks.hpp"

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/parallel_group.hpp>

#include <sys/resource.h>

#include <array>
#include <csignal>
#include <memory>
#include <memory_resource>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

using namespace prong::test;
using net::cancellation_type;

namespace {

int fail(int n) {
    throw std::domain_error(std::to_string(n));
}

void nothing() {}

/// Runs until it is asked to stop.
int run_until_stop(const std::stop_token& stop) {
    while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
    return 7;
}

NoDefault no_default(int n) {
    return NoDefault(n);
}

bool is_cancelled(const std::exception_ptr& error) {
    return is_a<CancelledError>(error);
}

} // namespace

TEST_CASE("a task completes every kind of token") {
    const Shared<Counter> counter;
    ProcessPoolExecutor pool(2);
    net::io_context io;

    SECTION("callbacks with an executor, given or bound") {
        End<int> given;
        End<int> bound;
        End<void> without_value;
        async_get(io, pool.submit(square, 7), given.handler());
        async_get(pool.submit(square, 8), net::bind_executor(io, bound.handler()));
        async_get(io.get_executor(), pool.submit(nothing), without_value.handler());
        io.run();
        CHECK((given.value == 49 && !given.error && given.calls == 1));
        CHECK((bound.value == 64 && !bound.error && bound.calls == 1));
        CHECK((!without_value.error && without_value.calls == 1));
    }
    SECTION("errors") {
        End<int> end;
        async_get(io, pool.submit(fail, 5), end.handler());
        io.run();
        CHECK(is_a<std::domain_error>(end.error));
        CHECK(text_of(end.error) == "5");
        CHECK(end.value == 0);
    }
    SECTION("use_future") {
        auto value = async_get(io, pool.submit(square, 7), net::use_future);
        auto error = async_get(io, pool.submit(fail, 5), net::use_future);
        io.run();
        CHECK(value.get() == 49);
        CHECK_THROWS_AS(error.get(), std::domain_error);
    }
    SECTION("use_awaitable, which is the default; as_tuple, redirect_error") {
        run_in(io, [&]() -> net::awaitable<void> {
            const int value_by_default = co_await async_get(pool.submit(square, 7));
            CHECK(value_by_default == 49);
            co_await async_get(pool.submit(nothing));
            const int value_in_context =
                co_await async_get(io, pool.submit(square, 8), net::use_awaitable);
            CHECK(value_in_context == 64);
            try {
                co_await async_get(pool.submit(fail, 5));
                FAIL("does not throw");
            } catch (const std::domain_error&) {
            }
            const auto [error, value] =
                co_await async_get(pool.submit(fail, 5), net::as_tuple(net::use_awaitable));
            CHECK((is_a<std::domain_error>(error) && value == 0));
            Future<int> future = pool.submit(square, 3);
            boost::system::error_code code = net::error::eof;
            co_await async_wait(future, net::redirect_error(net::use_awaitable, code));
            CHECK(!code);
            CHECK(future.get() == 9);
        });
    }
    SECTION("deferred, several times wrapped") {
        End<int> end;
        auto operation = async_get(io, pool.submit(square, 7), net::deferred);
        std::move(operation)(end.handler());
        const Future<int> waited = pool.submit(square, 7);
        run_in(io, [&]() -> net::awaitable<void> {
            co_await async_wait(io, waited, net::deferred)(net::use_awaitable);
        });
        CHECK(end.value == 49);
        CHECK(waited.done());
    }
    SECTION("detached") {
        async_get(io, pool.submit(count_up(counter)), net::detached);
        io.run();
        CHECK(*counter == 1);
    }
}

TEST_CASE("results need neither copies nor a default constructor, and handlers no copies") {
    ProcessPoolExecutor pool(1);
    net::io_context io;
    static_assert(std::is_same_v<prong::async_value_t<NoDefault>, std::optional<NoDefault>>);
    int found = 0;
    async_get(io, pool.submit(no_default, 7),
              [&](const std::exception_ptr&, std::optional<NoDefault> value) {
                  found = value.value().number;
              });
    std::unique_ptr<int> unique;
    async_get(io, pool.submit([] { return std::make_unique<int>(8); }),
              [&, only = std::make_unique<int>(1)](const std::exception_ptr&,
                                                   std::unique_ptr<int> value) {
                  unique = std::move(value);
                  *unique += *only;
              });
    io.run();
    CHECK(found == 7);
    CHECK(*unique == 9);
}

TEST_CASE("the handler is never called by the initiating function, nor by a cancellation") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    net::io_context io;
    End<int> end;
    net::cancellation_signal signal;

    SECTION("of a task that has ended") {
        Future<int> future = pool.submit(square, 7);
        future.wait();
        net::post(io, [&] { // in the loop's own thread
            async_get(io, std::move(future), end.handler());
            CHECK(end.calls == 0);
        });
        io.run();
        CHECK(end.value == 49);
    }
    SECTION("by a cancellation") {
        auto running = occupy(pool, gate);
        net::post(io, [&] {
            async_get(io, pool.submit(square, 7),
                      net::bind_cancellation_slot(signal.slot(), end.handler()));
            signal.emit(cancellation_type::total);
            CHECK(end.calls == 0);
        });
        io.run();
        CHECK(is_cancelled(end.error));
        gate->open();
    }
    SECTION("by a cancelled wait") {
        Future<int> future = pool.submit(run_until_stop);
        REQUIRE(eventually([&] { return future.running(); }));
        boost::system::error_code code;
        int calls = 0;
        net::post(io, [&] {
            async_wait(
                io, future,
                net::bind_cancellation_slot(signal.slot(), [&](boost::system::error_code found) {
                    code = found;
                    ++calls;
                }));
            signal.emit(cancellation_type::total);
            CHECK(calls == 0);
        });
        io.run();
        CHECK(code == net::error::operation_aborted);
        CHECK(calls == 1);
        future.request_stop();
        CHECK(future.get() == 7); // the task is untouched
    }
    CHECK(end.calls <= 1);
}

TEST_CASE("the handler runs in its executor, whatever context waits") {
    ProcessPoolExecutor pool(2);
    net::io_context waits;
    net::io_context handles;
    bool was_in_strand = false;
    std::thread::id thread;

    SECTION("another context, which has work until then") {
        async_get(waits, pool.submit(square, 7),
                  net::bind_executor(handles, [&](const std::exception_ptr&, int) {
                      thread = std::this_thread::get_id();
                  }));
        std::jthread other([&] { waits.run(); });
        handles.run();
        CHECK(thread == std::this_thread::get_id());
    }
    SECTION("a strand") {
        const auto strand = net::make_strand(handles);
        async_get(pool.submit(square, 7),
                  net::bind_executor(strand, [&](const std::exception_ptr&, int) {
                      was_in_strand = strand.running_in_this_thread();
                  }));
        handles.run();
        CHECK(was_in_strand);
    }
    SECTION("a strand that is occupied delays no other handler") {
        const net::any_io_executor strand = net::make_strand(handles);
        const Shared<Gate> gate;
        net::post(strand, [&] { gate->pass(); });
        async_get(strand, pool.submit(square, 7), [&](const std::exception_ptr&, int) {});
        async_get(handles, pool.submit(square, 8),
                  [&](const std::exception_ptr&, int) { gate->open(); });
        std::jthread other([&] { handles.run(); });
        handles.run();
    }
}

TEST_CASE("memory comes from the handler's allocator, and is free when the handler runs") {
    ProcessPoolExecutor pool(1);
    net::io_context io;
    CountingMemory memory;
    const std::pmr::polymorphic_allocator<std::byte> allocator(&memory);
    int in_use = -1;
    async_get(io, pool.submit(square, 7),
              net::bind_allocator(allocator,
                                  [&](const std::exception_ptr&, int) { in_use = memory.in_use; }));
    CHECK(memory.in_use == 1);
    io.run();
    CHECK(in_use == 0);
    CHECK(memory.allocations == 2);
}

TEST_CASE("a future without a task completes with an error") {
    net::io_context io;
    End<int> end;
    async_get(io, Future<int>(), end.handler());
    boost::system::error_code code;
    const Future<int> none;
    async_wait(io, none, [&](boost::system::error_code found) { code = found; });
    CHECK(end.calls == 0);
    io.run();
    CHECK(is_a<std::logic_error>(end.error));
    CHECK(code == net::error::invalid_argument);
    CHECK_THROWS_AS(prong::add_done_callback(io, Future<int>(), [](Future<int>) {}),
                    std::logic_error);
}

TEST_CASE("a cancellation cancels, asks to stop or kills, as its type says") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    net::io_context io;
    net::cancellation_signal signal;
    End<int> end;
    const auto get = [&](Future<int>&& future) {
        async_get(io, std::move(future), net::bind_cancellation_slot(signal.slot(), end.handler()));
    };

    SECTION("total cancels a queued task") {
        auto running = occupy(pool, gate);
        get(pool.submit(square, 7));
        signal.emit(cancellation_type::total);
        io.run();
        CHECK(is_cancelled(end.error));
        gate->open();
    }
    SECTION("total lets a running task end") {
        get(std::move(occupy(pool, gate).front()));
        signal.emit(cancellation_type::total);
        gate->open();
        io.run();
        CHECK(!end.error);
    }
    SECTION("partial asks a running task to stop") {
        Future<int> future = pool.submit(run_until_stop);
        REQUIRE(eventually([&] { return future.running(); }));
        get(std::move(future));
        signal.emit(cancellation_type::partial);
        io.run();
        CHECK(end.value == 7);
    }
    SECTION("terminal kills a running task") {
        get(std::move(occupy(pool, gate).front()));
        signal.emit(cancellation_type::terminal);
        io.run();
        CHECK(is_cancelled(end.error));
    }
    SECTION("the strongest counts") {
        get(std::move(occupy(pool, gate).front()));
        signal.emit(cancellation_type::all);
        io.run();
        CHECK(is_cancelled(end.error));
    }
    SECTION("a later one is stronger") {
        get(std::move(occupy(pool, gate).front()));
        signal.emit(cancellation_type::total);
        signal.emit(cancellation_type::partial);
        signal.emit(cancellation_type::terminal);
        io.run();
        CHECK(is_cancelled(end.error));
    }
    SECTION("one that comes after the end changes nothing") {
        Future<int> future = pool.submit(square, 7);
        future.wait();
        get(std::move(future));
        signal.emit(cancellation_type::terminal); // the handler is pending
        io.run();
        CHECK(end.value == 49);
        signal.emit(cancellation_type::terminal);
    }
    SECTION("one that comes after the context's end changes nothing") {
        auto late = std::make_unique<net::io_context>();
        async_get(*late, pool.submit(square, 7),
                  net::bind_cancellation_slot(signal.slot(), end.handler()));
        late.reset();
        signal.emit(cancellation_type::terminal);
        CHECK(end.calls == 0);
        end.calls = 1;
    }
    CHECK(end.calls == 1);
}

TEST_CASE("operators of awaitables and parallel groups kill the task that is too late") {
    using namespace net::experimental::awaitable_operators;
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    net::io_context io;

    SECTION("task || timer") {
        auto running = occupy(pool, gate);
        run_in(io, [&]() -> net::awaitable<void> {
            net::steady_timer timer(io, 1ms);
            const auto first = co_await (async_get(std::move(running.front())) ||
                                         timer.async_wait(net::use_awaitable));
            CHECK(first.index() == 1);
        });
        CHECK(pool.submit(square, 7).get() == 49); // the worker is replaced
    }
    SECTION("task && task") {
        run_in(io, [&]() -> net::awaitable<void> {
            const auto [a, b] =
                co_await (async_get(pool.submit(square, 7)) && async_get(pool.submit(square, 8)));
            CHECK((a == 49 && b == 64));
        });
    }
    SECTION("parallel_group") {
        auto running = occupy(pool, gate);
        net::steady_timer timer(io, 1ms);
        std::array<std::size_t, 2> order{};
        std::exception_ptr killed;
        net::experimental::make_parallel_group(
            timer.async_wait(net::deferred),
            async_get(io, std::move(running.front()), net::deferred))
            .async_wait(net::experimental::wait_for_one(),
                        net::bind_executor(io, [&](std::array<std::size_t, 2> found,
                                                   boost::system::error_code,
                                                   std::exception_ptr error, int) {
                            order = found;
                            killed = std::move(error);
                        }));
        io.run();
        CHECK(order == std::array<std::size_t, 2>{0, 1});
        CHECK(is_cancelled(killed));
    }
}

TEST_CASE("a task's death completes the operation, whatever has caused it") {
    net::io_context io;
    End<int> end;
    const Shared<Gate> gate;
    std::optional<ProcessPoolExecutor> pool(std::in_place, 1);
    const auto get = [&] { async_get(io, std::move(occupy(*pool, gate).front()), end.handler()); };

    SECTION("its worker is killed") {
        const int worker = pool->submit(pid_of_worker).get();
        get();
        kill(worker, SIGKILL);
        io.run();
        CHECK(is_a<WorkerDied>(end.error));
    }
    SECTION("kill()") {
        Future<int> future = std::move(occupy(*pool, gate).front());
        boost::system::error_code code = net::error::eof;
        async_wait(io, future, [&](boost::system::error_code found) { code = found; });
        future.kill();
        io.run();
        CHECK(!code);
        CHECK(future.cancelled());
        end.calls = 1;
    }
    SECTION("its timeout") {
        async_get(io, pool->with(TaskOptions{.timeout = 10ms}).submit(pass(gate)), end.handler());
        io.run();
        CHECK(is_a<prong::TaskTimeout>(end.error));
    }
    SECTION("its deadline, in the queue") {
        auto running = occupy(*pool, gate);
        async_get(io, pool->with(TaskOptions{.deadline = 10ms}).submit(square, 7), end.handler());
        io.run();
        CHECK(is_a<prong::TaskTimeout>(end.error));
        gate->open();
    }
    SECTION("cancel() by another thread") {
        auto running = occupy(*pool, gate);
        Future<int> future = pool->submit(square, 7);
        async_wait(io, future, [&](boost::system::error_code) { ++end.calls; });
        std::jthread canceller([&] { future.cancel(); });
        io.run();
        CHECK(future.cancelled());
        gate->open();
    }
    SECTION("kill_workers()") {
        get();
        pool->kill_workers();
        io.run();
        CHECK(is_a<WorkerDied>(end.error));
    }
    SECTION("its pool breaks") {
        pool.emplace(
            PoolOptions{.max_workers = 2, .on_worker_death = prong::OnWorkerDeath::break_pool});
        async_get(io, pool->submit([] {
            std::abort();
            return 0;
        }),
                  end.handler());
        io.run();
        CHECK(is_a<BrokenProcessPool>(end.error));
    }
    SECTION("the supervisor is killed") {
        get();
        kill(supervisor_of(getpid()), SIGKILL);
        io.run();
        CHECK(is_a<BrokenProcessPool>(end.error));
    }
    CHECK(end.calls == 1);
}

TEST_CASE("contexts, pools and futures may be destroyed in any order") {
    const Shared<Gate> gate;
    const auto alive = std::make_shared<int>(0); // handlers have copies
    auto pool = std::make_unique<ProcessPoolExecutor>(2);
    auto io = std::make_unique<net::io_context>();
    int calls = 0;
    const auto handler = [&calls, alive](const std::exception_ptr&, int) { ++calls; };

    SECTION("the context first, with operations outstanding") {
        for (Future<int>& future : occupy(*pool, gate)) async_get(*io, std::move(future), handler);
        Future<int> waited = pool->submit(square, 7);
        async_wait(*io, waited, [&calls, alive](boost::system::error_code) { ++calls; });
        io->poll();
        io.reset();
        CHECK(alive.use_count() == 2);
        gate->open();
        CHECK(waited.get() == 49);
        CHECK(calls == 0);
    }
    SECTION("the context first, with handlers outstanding") {
        async_get(*io, pool->submit(square, 7), handler);
        REQUIRE(eventually([&] { return pool->stats().finished == 1; }));
        async_get(*io, Future<int>(), handler);
        io.reset();
        CHECK(alive.use_count() == 2);
        CHECK(calls == 0);
    }
    SECTION("the pool first") {
        async_get(*io, pool->submit(square, 7), handler);
        pool.reset();
        io->run();
        CHECK(calls == 1);
    }
    SECTION("the pool first, then the context") {
        async_get(*io, pool->submit(square, 7), handler);
        pool.reset();
        io.reset();
        CHECK(calls == 0);
    }
    SECTION("the pool while the context runs") {
        std::vector<Future<int>> futures = occupy(*pool, gate);
        for (Future<int>& future : futures) async_get(*io, std::move(future), handler);
        std::jthread loop([&] { io->run(); });
        gate->open();
        pool.reset();
        loop.join();
        CHECK(calls == 2);
    }
}

TEST_CASE("a context that is stopped goes on when it is restarted, and delays no other") {
    ProcessPoolExecutor pool(2);
    net::io_context stopped;
    net::io_context never_run;
    net::io_context runs;
    End<int> end;
    End<int> never;
    End<int> other;
    async_get(never_run, pool.submit(square, 6), never.handler());
    async_get(stopped, pool.submit(square, 7), [&](const std::exception_ptr&, int) {
        async_get(stopped, pool.submit(square, 8), end.handler());
        stopped.stop();
    });
    stopped.run();
    CHECK(end.calls == 0);
    async_get(runs, pool.submit(square, 9), other.handler());
    runs.run();
    CHECK(other.value == 81);
    stopped.restart();
    stopped.run();
    CHECK(end.value == 64);
    CHECK(never.calls == 0);
}

TEST_CASE("run() returns when no operation is outstanding, and no descriptor is left") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    net::io_context io;
    net::steady_timer timer(io, 0ms); // the context's own descriptors
    timer.async_wait([](boost::system::error_code) {});
    io.run();
    const auto before = Holdings::now().descriptors;
    for (int round = 0; round < 3; ++round) {
        End<int> end;
        gate->close();
        async_get(io, pool.submit(pass(gate)), end.handler());
        CHECK(Holdings::now().descriptors.size() == before.size() + 1);
        gate->open();
        io.restart();
        io.run();
        CHECK(end.value.value() != 0);
        CHECK(Holdings::now().descriptors == before);
    }
    Future<int> future = pool.submit(run_until_stop);
    REQUIRE(eventually([&] { return future.running(); }));
    net::cancellation_signal signal;
    async_wait(io, future,
               net::bind_cancellation_slot(signal.slot(), [](boost::system::error_code) {}));
    signal.emit(cancellation_type::total);
    io.restart();
    io.run(); // although the task has not ended
    CHECK(Holdings::now().descriptors == before);
    future.request_stop();
}

TEST_CASE("a loop without operations sleeps") {
    ProcessPoolExecutor pool(1);
    net::io_context io;
    const auto work = net::make_work_guard(io);
    End<int> end;
    async_get(io, pool.submit(square, 7), end.handler());
    while (end.calls == 0) io.run_one();
    io.poll();
    const auto sleeps = [] {
        rusage usage{};
        getrusage(RUSAGE_THREAD, &usage);
        return usage.ru_nvcsw;
    };
    const auto before = sleeps();
    io.run_for(640ms); // with a tick every 64 ms, there would be ten
    CHECK(sleeps() - before <= 4);
}

TEST_CASE("several contexts with several threads await tasks of several pools") {
    ProcessPoolExecutor first(2);
    ProcessPoolExecutor second(1);
    net::thread_pool threads(3);
    net::io_context io;
    constexpr int count = 2000;
    std::atomic<int> calls = 0;
    std::atomic<int> sum = 0;
    const auto handler = [&](const std::exception_ptr& error, int n) {
        ++calls;
        sum += error ? 1'000'000 : n;
    };
    for (int i = 0; i < count; ++i) {
        async_get(threads, first.submit(square, i % 10), handler);
        async_get(threads, second.submit(square, i % 10), handler);
        async_get(io, first.submit(square, i % 10), handler);
    }
    std::jthread other([&] { io.run(); });
    io.run();
    threads.join();
    other.join();
    CHECK(calls == 3 * count);
    CHECK(sum == 3 * count / 10 * 285);
}

TEST_CASE("handlers start operations, and one coroutine does so again and again") {
    ProcessPoolExecutor pool(2);
    net::io_context io;
    int sum = 0;
    for (int chain = 0; chain < 10; ++chain) {
        net::co_spawn(
            io,
            [&]() -> net::awaitable<void> {
                for (int i = 0; i < 100; ++i) sum += co_await async_get(pool.submit(square, 2));
            },
            net::detached);
    }
    io.run();
    CHECK(sum == 4000);
}

TEST_CASE("a done callback is called once, on its executor, with the future") {
    ProcessPoolExecutor pool(1);
    net::io_context io;
    int value = 0;
    bool has_failed = false;
    prong::add_done_callback(io, pool.submit(square, 7),
                             [&](Future<int> future) { value += future.get(); });
    prong::add_done_callback(io.get_executor(), pool.submit(fail, 7), [&](Future<int> future) {
        has_failed = is_a<std::domain_error>(future.exception());
    });
    io.run();
    CHECK(value == 49);
    CHECK(has_failed);

    prong::add_done_callback(io, pool.submit(nothing),
                             [](const Future<void>&) { throw std::domain_error("in a handler"); });
    io.restart();
    CHECK_THROWS_AS(io.run(), std::domain_error);
}

TEST_CASE("a hundred thousand tasks are awaited at once") {
    constexpr int count = 100'000;
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    net::io_context io;
    auto running = occupy(pool, gate);
    int calls = 0;
    std::int64_t sum = 0;
    for (int i = 0; i < count; ++i) {
        async_get(io, pool.submit(std::plus<>(), i, 0), [&](const std::exception_ptr&, int n) {
            ++calls;
            sum += n;
        });
    }
    gate->open();
    io.run();
    CHECK(calls == count);
    CHECK(sum == std::int64_t{count} * (count - 1) / 2);
}

TEST_CASE("tasks of a pool from a zygote are awaited") {
    check_child([] {
        prong::start_zygote();
        ProcessPoolExecutor pool(1);
        net::io_context io;
        End<int> end;
        async_get(io, pool.submit(square, 7), end.handler());
        io.run();
        require(end.value == 49, "the result");
    });
}

TEST_CASE("in a copy of the program, operations of its pools complete with an error") {
    ProcessPoolExecutor pool(1);
    Future<int> future = pool.submit(square, 7);
    check_child([&] {
        net::io_context io;
        End<int> end;
        async_get(io, std::move(future), end.handler());
        io.run();
        require(is_a<std::logic_error>(end.error), "a std::logic_error");
    });
    CHECK(future.get() == 49);
}

TEST_CASE("operations that wait when the program forks complete with an error in the copy") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    net::io_context io;
    End<int> end;
    async_get(io, std::move(occupy(pool, gate).front()), end.handler());
    io.poll();                          // the tick has begun
    std::this_thread::sleep_for(100ms); // now it is due
    io.notify_fork(net::execution_context::fork_prepare);
    check_child([&] {
        io.notify_fork(net::execution_context::fork_child);
        io.run();
        require(is_a<std::logic_error>(end.error), "a std::logic_error");
    });
    io.notify_fork(net::execution_context::fork_parent);
    gate->open();
    io.run();
    CHECK((end.calls == 1 && !end.error));
}
