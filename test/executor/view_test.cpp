// Future::view: results that are read where the worker wrote them.

#include "executor/helpers.hpp"
#include "executor/invariants.hpp"
#include "executor/thread_pool.hpp"
#include "support/catch.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <iostream>
#include <limits>
#include <numeric>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <valarray>
#include <vector>

using namespace prong::test;
using prong::CodecError;
using prong::ResultView;

namespace {

std::vector<int> count_to(int count) {
    std::vector<int> numbers(static_cast<std::size_t>(count));
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
}

std::string text_of(int length) {
    return std::string(static_cast<std::size_t>(length), 'x');
}

struct Point {
    double x;
    float y;
    bool operator==(const Point&) const = default;
};

constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();

template <typename T>
bool lies_in(const prong::executor::SharedState& state, const T* element) {
    const auto* const byte = reinterpret_cast<const std::byte*>(element);
    return byte >= state.region.base() && byte < state.region.base() + state.region.size();
}

/// A pool with one task, which has returned, and its record.
template <typename R>
struct Returned {
    explicit Returned(R (*function)(int), int argument) : future(pool.submit(function, argument)) {
        pool.start(0);
        future.wait();
    }
    [[nodiscard]] prong::ring::Record& record() const { return pool.state().records[0]; }

    ThreadPool pool{1};
    Future<R> future;
};

} // namespace

static_assert(std::ranges::contiguous_range<ResultView<std::vector<int>>>);
static_assert(std::ranges::contiguous_range<const ResultView<std::string>>);
static_assert(std::ranges::sized_range<ResultView<std::array<Point, 3>>>);
static_assert(!std::is_copy_constructible_v<ResultView<std::string>>);
static_assert(std::is_nothrow_move_constructible_v<ResultView<std::string>>);
static_assert(std::is_convertible_v<ResultView<std::vector<int>>&, std::span<const int>>);
static_assert(!std::is_convertible_v<ResultView<std::vector<int>>&, std::span<int>>);
static_assert(std::is_convertible_v<ResultView<std::string>&, std::string_view>);
static_assert(std::is_convertible_v<ResultView<std::u16string>&, std::u16string_view>);
static_assert(!std::is_convertible_v<ResultView<std::vector<char>>&, std::string_view>);

TEST_CASE("a view shows what get would return, small or large") {
    const int count = GENERATE(0, 1, 3, 1000, 3'000'000);
    ProcessPoolExecutor pool(1);
    Future<std::vector<int>> future = pool.submit(count_to, count);
    const auto view = future.view();
    CHECK_FALSE(future.valid());
    CHECK(view.size() == static_cast<std::size_t>(count));
    CHECK(view.empty() == (count == 0));
    CHECK(std::ranges::equal(view, count_to(count)));
    if (count != 0) CHECK(view[view.size() - 1] == count - 1);
    const std::span<const int> span = view;
    CHECK(span.data() == view.data());
    CHECK(span.size() == view.size());
    const std::string_view text = pool.submit(text_of, count).view();
    CHECK(text.size() == static_cast<std::size_t>(count));
}

TEST_CASE("there is a view of each kind of contiguous result") {
    ProcessPoolExecutor pool(1);
    const auto text = pool.submit(text_of, 5).view();
    CHECK(std::string_view(text) == "xxxxx");
    const auto wide = pool.submit([] { return std::u32string(U"\u00e9t\u00e9"); }).view();
    CHECK(std::u32string_view(wide) == U"\u00e9t\u00e9");
    const auto points = pool.submit([] { return std::array{Point{1, 2}, Point{3, 4}}; }).view();
    CHECK(std::ranges::equal(points, std::array{Point{1, 2}, Point{3, 4}}));
    CHECK(pool.submit([] { return std::array<int, 0>{}; }).view().empty());
    const auto values = pool.submit([] { return std::valarray<double>{1, 2}; }).view();
    CHECK(std::ranges::equal(values, std::array{1.0, 2.0}));
    using Rows = std::vector<std::array<long double, 2>>;
    const auto rows = pool.submit([] { return Rows{{1, 2}, {3, 4}}; }).view();
    CHECK(rows[1][0] == 3);
}

TEST_CASE("a view looks at the memory that the worker wrote to, and gives it back") {
    const int count = GENERATE(2, 100'000);
    CorePool pool(1);
    Future<std::vector<int>> future = pool.submit(count_to, count);
    auto view = future.view();
    CHECK(lies_in(pool.state(), view.data()));
    CHECK(lies_in(pool.state(), view.data() + view.size() - 1));
    CHECK(pool.core().record_counts().in_use == 1);
    auto moved = std::move(view);
    CHECK(view.empty()); // NOLINT(bugprone-use-after-move)
    CHECK(view.data() == nullptr);
    CHECK(moved.size() == static_cast<std::size_t>(count));
    view = std::move(moved);
    auto other = pool.submit(count_to, 3).view();
    CHECK(pool.core().record_counts().in_use == 2);
    other = std::move(view);
    CHECK(pool.core().record_counts().in_use == 1);
    CHECK(std::ranges::equal(other, count_to(count)));
    other = {};
    Invariants invariants;
    invariants.check_at_rest(pool.core(), 0);
    CHECK(invariants.violations().empty());
}

TEST_CASE("other tasks leave the memory of a view alone") {
    ProcessPoolExecutor pool(2);
    const auto small = pool.submit(count_to, 5).view();
    const auto large = pool.submit(count_to, 10'000).view();
    for (int i = 0; i < 300; ++i) {
        auto one = pool.submit(count_to, 5);
        auto other = pool.submit(text_of, 40'000);
        if (i % 2 == 0) one.get();
    }
    CHECK(std::ranges::equal(small, count_to(5)));
    CHECK(std::ranges::equal(large, count_to(10'000)));
}

TEST_CASE("view blocks until the task has ended") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(with_captures([place = gate.get()] {
        place->pass();
        return std::string("late");
    }));
    CHECK(gate->await_arrivals(1));
    std::thread opener([&] { gate->open(); });
    CHECK(std::string_view(future.view()) == "late");
    opener.join();
}

TEST_CASE("view throws what get would throw, and leaves the future invalid") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto throws = pool.submit([]() -> std::string { throw std::out_of_range("far"); });
    CHECK_THROWS_AS(throws.view(), std::out_of_range);
    CHECK_FALSE(throws.valid());
    auto dies = pool.submit([]() -> std::string {
        std::raise(SIGKILL);
        return "";
    });
    CHECK_THROWS_AS(dies.view(), WorkerDied);
    auto held = occupy(pool, gate);
    auto queued = pool.submit(text_of, 1);
    CHECK(queued.cancel());
    CHECK_THROWS_AS(queued.view(), CancelledError);
    gate->open();
    auto taken = pool.submit(text_of, 1);
    CHECK(taken.view().size() == 1);
    CHECK_THROWS_AS(taken.view(), std::logic_error);
    CHECK_THROWS_AS(taken.get(), std::logic_error);
    CHECK_FALSE(taken.cancel());
    CHECK_FALSE(taken.kill());
    CHECK_FALSE(taken.request_stop());
    CHECK_THROWS_AS(Future<std::string>().view(), std::logic_error);
}

TEST_CASE("a view outlives its pool, also a broken one") {
    ResultView<std::vector<int>> view;
    ResultView<std::string> text;
    CHECK(view.empty());
    {
        ProcessPoolExecutor pool(1);
        view = pool.submit(count_to, 50'000).view();
        text = pool.submit(text_of, 3).view();
        auto killed = pool.submit(sleep_for_ever);
        if (GENERATE(false, true)) {
            kill(supervisor_of(getpid()), SIGKILL);
            CHECK_THROWS_AS(killed.get(), BrokenProcessPool);
            CHECK(std::ranges::equal(view, count_to(50'000)));
        }
        pool.kill_workers();
    }
    CHECK(std::ranges::equal(view, count_to(50'000)));
    CHECK(std::string_view(text) == "xxx");
}

TEST_CASE("captured output is no part of a view") {
    const int count = GENERATE(2, 1000);
    ProcessPoolExecutor pool(1);
    const auto talk = [](int length) {
        std::cout << "said";
        return text_of(length);
    };
    auto future = pool.with(TaskOptions{.capture_output = true}).submit(talk, count);
    CHECK(future.output() == "said");
    CHECK(std::string_view(future.view()) == text_of(count));
}

TEST_CASE("a view does not trust what a worker has written about the result") {
    Returned<std::vector<int>> returned(count_to, 3);
    prong::ring::Record& record = returned.record();
    const std::uint64_t begin = prong::ring::result_begin(record.arguments_end);
    auto* const count =
        reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::byte*>(&record) + begin);
    SECTION("a number of elements that does not fit") {
        *count = GENERATE(std::uint64_t{4}, 1U << 30, most, (most >> 2) + 1);
    }
    SECTION("a length that does not fit") {
        record.result_end = begin + GENERATE(0U, 7U, 19U);
    }
    SECTION("a place outside the pool's memory, or between blocks") {
        record.result_end = GENERATE(std::uint64_t{0}, 31U, 129U, most);
        *count = 0;
    }
    CHECK_THROWS_AS(returned.future.view(), CodecError);
    CHECK(returned.pool.core().record_counts().in_use == 0);
}

TEST_CASE("what a worker writes later changes no view's size or place") {
    Returned<std::vector<int>> returned(count_to, 3);
    const auto view = returned.future.view();
    prong::ring::Record& record = returned.record();
    std::fill(record.bytes, record.bytes + sizeof(record.bytes), std::byte{0xff});
    record.result_end = record.arguments_end = 0;
    CHECK(view.size() == 3);
    CHECK(lies_in(returned.pool.state(), view.data()));
    CHECK(view[2] == -1);
}
