// map in the loops of Asio.

#include "asio/loops.hpp"

#include <algorithm>
#include <csignal>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <vector>

using namespace prong::test;
using net::cancellation_type;
using prong::async_map;
using prong::MapOptions;

namespace {

int odd_only(int n) {
    if (n % 2 == 0) throw std::domain_error(std::to_string(n));
    return n;
}

void nothing(int) {}

Gate* the_gate = nullptr; // of `pass_two`, as the workers have it from the fork

int pass_two(int n) {
    if (n == 2) the_gate->pass();
    return n;
}

std::vector<int> squares_of(int count) {
    std::vector<int> squares;
    for (int i = 0; i < count; ++i) squares.push_back(square(i));
    return squares;
}

} // namespace

TEST_CASE("async_map gives all results as a vector") {
    ProcessPoolExecutor pool(2);
    net::io_context io;
    End<std::vector<int>> end;
    async_map(pool, square, std::views::iota(0, 3000))(io, end.handler());
    End<void> without_values;
    async_map(pool.with(TaskOptions{.timeout = 60s}), nothing,
              std::vector{1, 2, 3})(net::bind_executor(io, without_values.handler()));
    CHECK(end.calls == 0);
    io.run();
    CHECK(end.value == squares_of(3000));
    CHECK((without_values.calls == 1 && !without_values.error));
    const std::vector two{1, 2};
    const std::vector three{3, 4, 5};
    const std::vector<int> empty;
    run_in(io, [&]() -> net::awaitable<void> {
        const auto few = co_await async_map(pool, std::plus<>(), two, three)();
        CHECK((few.size() == 2 && few[0] == 4 && few[1] == 6));
        const auto none = co_await async_map(pool, square, empty)();
        CHECK(none.empty());
    });
}

TEST_CASE("async_map gives results one by one, also of endless inputs and with little room") {
    const auto pending = GENERATE(std::size_t{1}, std::size_t{100});
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_pending = pending});
    net::io_context io;
    std::vector<int> found;
    int read = 0;
    run_in(io, [&]() -> net::awaitable<void> {
        auto map = async_map(pool, MapOptions{.lookahead = 16}, square,
                             std::views::iota(0) | std::views::transform([&](int n) {
                                 ++read;
                                 return n;
                             }));
        for (int i = 0; i < 500; ++i) {
            const auto next = co_await map.async_next();
            found.push_back(next.value());
        }
    });
    CHECK(found == squares_of(500));
    CHECK(read <= 516);
}

TEST_CASE("async_map without order gives results as they come") {
    const Shared<Gate> gate;
    const auto pending = GENERATE(std::size_t{2}, std::size_t{100});
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_pending = pending});
    net::io_context io;
    std::vector<int> found;
    const auto wait_for_others = with_captures([place = gate.get()](int n) {
        if (n == 0) place->pass();
        return n;
    });
    run_in(io, [&]() -> net::awaitable<void> {
        auto map = async_map(pool, MapOptions{.chunksize = 1, .ordered = false}, wait_for_others,
                             std::views::iota(0, 50));
        while (const auto next = co_await map.async_next()) {
            found.push_back(*next);
            if (found.size() == 49) gate->open();
        }
    });
    CHECK(found.back() == 0);
    std::ranges::sort(found);
    CHECK(std::ranges::equal(found, std::views::iota(0, 50)));
}

TEST_CASE("an element that throws completes with its error, and the next one follows") {
    ProcessPoolExecutor pool(1);
    net::io_context io;
    const std::vector numbers{1, 2, 3};
    run_in(io, [&]() -> net::awaitable<void> {
        auto map = async_map(pool, odd_only, numbers);
        auto next = co_await map.async_next();
        CHECK(next == 1);
        const auto [error, none] = co_await map.async_next(net::as_tuple(net::use_awaitable));
        CHECK(text_of(error) == "2");
        CHECK(!none);
        next = co_await map.async_next();
        CHECK(next == 3);
        next = co_await map.async_next();
        CHECK(!next);

        auto all = async_map(pool, odd_only, numbers);
        const auto [first, nothing_yet] = co_await all(net::as_tuple(net::use_awaitable));
        CHECK((text_of(first) == "2" && nothing_yet.empty()));
        const auto rest = co_await all();
        CHECK((rest.size() == 2 && rest[0] == 1 && rest[1] == 3));
    });
}

TEST_CASE("a cancelled wait for a result loses none") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    net::io_context io;
    auto running = occupy(pool, gate);
    net::cancellation_signal signal;
    End<std::optional<int>> end;
    const auto ordered = GENERATE(true, false);
    auto map = async_map(pool, MapOptions{.ordered = ordered}, square, std::vector{3});
    map.async_next(io, net::bind_cancellation_slot(signal.slot(), end.handler()));
    io.poll();
    CHECK(end.calls == 0);
    signal.emit(GENERATE(cancellation_type::terminal, cancellation_type::total));
    io.restart();
    io.run();
    CHECK(is_a<boost::system::system_error>(end.error));
    gate->open();
    map.async_next(io, end.handler());
    io.restart();
    io.run();
    CHECK(end.value == std::optional(9));
}

TEST_CASE("a wait for results that are there can be cancelled, too, and loses none") {
    ProcessPoolExecutor pool(1);
    net::io_context io;
    auto map = async_map(pool, square, std::vector{1, 2, 3});
    CHECK(pool.submit(square, 4).get() == 16); // runs after all of these
    net::cancellation_signal signal;
    End<std::vector<int>> all;
    map(io, net::bind_cancellation_slot(signal.slot(), all.handler()));
    signal.emit(cancellation_type::terminal);
    io.run();
    CHECK(is_a<boost::system::system_error>(all.error));
    End<std::optional<int>> next;
    map.async_next(io, net::bind_cancellation_slot(signal.slot(), next.handler()));
    signal.emit(cancellation_type::terminal);
    io.restart();
    io.run();
    CHECK(is_a<boost::system::system_error>(next.error));
    for (const int n : {1, 2, 3}) {
        map.async_next(io, next.handler());
        io.restart();
        io.run();
        CHECK(next.value == std::optional(square(n)));
    }
}

TEST_CASE("what a cancelled wait for all results has gathered comes next") {
    const Shared<Gate> gate;
    the_gate = gate.get();
    ProcessPoolExecutor pool(1);
    net::io_context io;
    auto map = async_map(pool, MapOptions{.chunksize = 1}, pass_two, std::vector{0, 1, 2});
    net::cancellation_signal signal;
    End<std::vector<int>> all;
    map(io, net::bind_cancellation_slot(signal.slot(), all.handler()));
    CHECK(gate->await_arrivals(1));
    io.poll();
    signal.emit(cancellation_type::total);
    io.restart();
    io.run();
    CHECK(is_a<boost::system::system_error>(all.error));
    End<std::optional<int>> next;
    map.async_next(io, next.handler());
    io.restart();
    io.run();
    CHECK(next.value == std::optional(0));
    gate->open();
    map(io, all.handler());
    io.restart();
    io.run();
    CHECK(!all.error);
    CHECK(*all.value == std::vector{1, 2});
}

TEST_CASE("deaths and the end of the context or the pool end an async_map") {
    const Shared<Gate> gate;
    auto pool = std::make_unique<ProcessPoolExecutor>(1);
    auto io = std::make_unique<net::io_context>();
    End<std::vector<int>> end;
    const auto start = [&] {
        const auto stand = with_captures([place = gate.get()](int n) {
            place->pass();
            return n;
        });
        async_map(*pool, stand, std::vector{1, 2, 3})(*io, end.handler());
    };
    start();
    REQUIRE(gate->await_arrivals(1));

    SECTION("the worker") {
        kill(workers_of(supervisor_of(getpid())).front(), SIGKILL);
        io->run();
        CHECK(is_a<WorkerDied>(end.error));
    }
    SECTION("the supervisor") {
        kill(supervisor_of(getpid()), SIGKILL);
        io->run();
        CHECK(is_a<BrokenProcessPool>(end.error));
    }
    SECTION("the pool's shutdown, after what was submitted") {
        pool->shutdown(false);
        gate->open();
        pool.reset();
        io->run();
        CHECK(end.value == std::vector{1, 2, 3});
    }
    SECTION("the context") {
        io.reset();
        end.calls = 1;
    }
    CHECK(end.calls == 1);
    gate->open();
}

TEST_CASE("async_map refuses options that it does not have") {
    ProcessPoolExecutor pool(1);
    CHECK_THROWS_AS(async_map(pool, MapOptions{.timeout = 1s}, square, std::vector{1}),
                    std::invalid_argument);
    CHECK_THROWS_AS(async_map(pool, MapOptions{.chunksize = 0}, square, std::vector{1}),
                    std::invalid_argument);
}
