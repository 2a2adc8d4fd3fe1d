// Submitting to a full pool, and shutting pools down, from the loops of Asio.

#include "asio/loops.hpp"
#include "support/leaks.hpp"

#include <csignal>
#include <memory>
#include <thread>
#include <vector>

using namespace prong::test;
using net::cancellation_type;
using prong::async_shutdown;
using prong::async_submit;

namespace {

int length(const std::string& text) {
    return static_cast<int>(text.size());
}

PoolOptions with_room_for(std::size_t tasks) {
    return {.max_workers = 1, .max_pending = tasks};
}

} // namespace

TEST_CASE("async_submit completes with the future, and the caller may change the arguments") {
    ProcessPoolExecutor pool(1);
    net::io_context io;
    End<Future<int>> end;
    std::string text = "seven!!";
    auto submit = async_submit(pool, length, text);
    text.clear();
    submit(io, end.handler());
    CHECK(end.calls == 0);
    io.run();
    CHECK(!end.error);
    CHECK(end.value.value().get() == 7);

    submit(io, end.handler()); // again
    io.restart();
    io.run();
    CHECK(is_a<std::logic_error>(end.error));
}

TEST_CASE("async_submit waits for room without blocking, first come, first served") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(with_room_for(2));
    net::io_context io;
    auto running = occupy(pool, gate);
    std::vector<int> order;
    std::vector<Future<int>> futures;
    for (int i = 0; i < 100; ++i) {
        async_submit(pool, square, i)(io,
                                      [&, i](const std::exception_ptr& error, Future<int> future) {
                                          if (error) std::rethrow_exception(error);
                                          order.push_back(i);
                                          futures.push_back(std::move(future));
                                          if (order.size() == 2) gate->open();
                                      });
    }
    io.run();
    REQUIRE(order.size() == 100);
    for (int i = 0; i < 100; ++i) {
        CHECK(order.at(static_cast<std::size_t>(i)) == i);
        CHECK(futures.at(static_cast<std::size_t>(i)).get() == i * i);
    }
}

TEST_CASE("a submission that waits for room ends by cancellation, deadline, or with its pool") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    auto pool = std::make_unique<ProcessPoolExecutor>(with_room_for(1));
    auto io = std::make_unique<net::io_context>();
    auto running = occupy(*pool, gate);
    auto queued = pool->submit(square, 2);
    End<Future<int>> end;
    net::cancellation_signal signal;
    const auto submit = [&] {
        async_submit(*pool, count_up(runs))(
            *io, net::bind_cancellation_slot(signal.slot(), end.handler()));
        io->poll();
        CHECK(end.calls == 0);
    };

    SECTION("cancellation") {
        submit();
        signal.emit(cancellation_type::total);
        io->run();
        CHECK(is_a<boost::system::system_error>(end.error));
    }
    SECTION("its deadline, counted from the call") {
        async_submit(pool->with(TaskOptions{.deadline = 20ms}), count_up(runs))(*io, end.handler());
        io->run();
        REQUIRE(!end.error);
        CHECK_THROWS_AS(end.value.value().get(), prong::TaskTimeout);
    }
    SECTION("the pool's shutdown") {
        submit();
        pool->shutdown(false);
        io->run();
        CHECK(is_a<prong::PoolShutdown>(end.error));
    }
    SECTION("the pool's destruction") {
        submit();
        gate->open();
        pool.reset();
        io->run();
        CHECK(end.calls == 1);
    }
    SECTION("the supervisor's death") {
        submit();
        kill(supervisor_of(getpid()), SIGKILL);
        io->run();
        CHECK(is_a<BrokenProcessPool>(end.error));
    }
    SECTION("the context's destruction") {
        submit();
        io.reset();
        end.calls = 1;
    }
    CHECK(end.calls == 1);
    CHECK(*runs <= 1);
    gate->open();
}

TEST_CASE("what submit throws completes the operation") {
    net::io_context io;
    End<Future<int>> end;
    ProcessPoolExecutor pool(1);
    pool.shutdown();
    async_submit(pool, square, 7)(io, end.handler());
    CHECK(end.calls == 0);
    io.run();
    CHECK(is_a<prong::PoolShutdown>(end.error));
    CHECK(!end.value.value().valid());
}

TEST_CASE("coroutines share a pool with little room") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_pending = 4});
    net::io_context io;
    int sum = 0;
    for (int i = 0; i < 50; ++i) {
        net::co_spawn(
            io,
            [&]() -> net::awaitable<void> {
                for (int round = 0; round < 20; ++round) {
                    auto future = co_await async_submit(pool, square, 2)();
                    sum += co_await async_get(std::move(future));
                }
            },
            net::detached);
    }
    io.run();
    CHECK(sum == 4000);
}

TEST_CASE("async_shutdown completes when all tasks and workers have ended") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    net::io_context io;
    End<void> end;
    auto running = occupy(pool, gate);
    Future<int> queued = pool.submit(square, 7);

    SECTION("after the queued tasks") {
        async_shutdown(io, pool, end.handler());
        CHECK_THROWS_AS(pool.submit(square, 1), prong::PoolShutdown);
        io.poll();
        CHECK(end.calls == 0);
        gate->open();
        io.run();
        CHECK(!end.error);
        CHECK(pool.join_for(0ms));
        CHECK(queued.get() == 49);
    }
    SECTION("several at once, of which one is cancelled") {
        net::cancellation_signal signal;
        End<void> cancelled;
        async_shutdown(io, pool, end.handler());
        async_shutdown(io, pool, net::bind_cancellation_slot(signal.slot(), cancelled.handler()));
        signal.emit(cancellation_type::terminal);
        gate->open();
        io.run();
        CHECK(!end.error);
        CHECK(is_a<boost::system::system_error>(cancelled.error));
    }
    SECTION("in a coroutine, beside the tasks") {
        run_in(io, [&]() -> net::awaitable<void> {
            gate->open();
            co_await async_shutdown(pool);
            const int value = co_await async_get(std::move(queued));
            CHECK(value == 49);
        });
        end.calls = 1;
    }
    SECTION("when the supervisor has been killed") {
        kill(supervisor_of(getpid()), SIGKILL);
        async_shutdown(io, pool, end.handler());
        io.run();
        CHECK(!end.error);
    }
    CHECK(end.calls == 1);
}
