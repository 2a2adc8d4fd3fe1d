// What a future says, and what it throws.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <any>
#include <chrono>
#include <filesystem>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <typeinfo>
#include <vector>

using namespace prong::test;
using Catch::Matchers::Contains;

namespace {

struct ParseError : std::runtime_error {
    explicit ParseError(const std::string& what) : std::runtime_error(what) {}
    ParseError(const std::string& what, int where) : std::runtime_error(what), line(where) {}
    template <typename Archive>
    void serialize(Archive& archive) {
        archive(line);
    }
    int line = 0;
};

/// Comes back whole in the process in which it was thrown only.
struct CannotBeDecoded : std::runtime_error {
    explicit CannotBeDecoded(const std::string& what) : std::runtime_error(what) {}
    template <typename Archive>
    void save(Archive& archive) const {
        archive(1);
    }
    template <typename Archive>
    void load(Archive&) {
        throw std::domain_error("decoding fails");
    }
};

/// Unknown in the parent.
struct NotRegistered : std::logic_error {
    using std::logic_error::logic_error;
};

[[maybe_unused]] const bool registered =
    prong::register_exception<ParseError>() && prong::register_exception<CannotBeDecoded>();

/// A value whose decoding in the parent throws.
struct BadResult {
    int value = 0;
    template <typename Archive>
    void save(Archive& archive) const {
        archive(value);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(value);
        if (value == 1) throw std::domain_error("decoding fails");
        if (value == 2) throw 2;
    }
};

void throw_nested() {
    try {
        try {
            throw ParseError("inner", 3);
        } catch (...) {
            std::throw_with_nested(std::invalid_argument("middle"));
        }
    } catch (...) {
        std::throw_with_nested(NotRegistered("outer"));
    }
}

template <typename E, typename F>
E thrown_by(F task) {
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(task);
    return error_of<E>(future);
}

} // namespace

TEST_CASE("a future goes from pending to running to done") {
    const Shared<Gate> first;
    const Shared<Gate> second;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, first);
    Future<int> future = pool.submit(pass(second));
    CHECK(future.valid());
    CHECK_FALSE(future.running());
    CHECK_FALSE(future.done());
    CHECK_FALSE(future.cancelled());
    first->open();
    REQUIRE(second->await_arrivals(1));
    CHECK(future.running());
    CHECK_FALSE(future.done());
    CHECK_FALSE(future.wait_for(0ms));
    CHECK_FALSE(future.wait_for(-1h));
    CHECK_FALSE(future.wait_until(std::chrono::steady_clock::now()));
    CHECK_FALSE(future.wait_until(std::chrono::system_clock::now() + 10ms));
    CHECK_THROWS_AS(future.get_for(5ms), prong::TimeoutError);
    CHECK(future.valid());
    second->open();
    future.wait();
    CHECK(future.done());
    CHECK_FALSE(future.running());
    CHECK_FALSE(future.cancelled());
    CHECK(future.wait_for(0ms));
    CHECK(future.wait_until(std::chrono::system_clock::now() - 1h));
    CHECK(future.exception() == nullptr);
    CHECK(future.get() == held[0].get());
    CHECK_FALSE(future.valid());
}

TEST_CASE("a future without a task says so") {
    ProcessPoolExecutor pool(1);
    Future<int> empty;
    Future<int> moved_from = pool.submit(square, 2);
    Future<int> taken = std::move(moved_from);
    CHECK(taken.result() == 4);
    for (Future<int>* const future : {&empty, &moved_from, &taken}) {
        CHECK_FALSE(future->valid());
        CHECK_THROWS_AS(future->get(), std::logic_error);
        CHECK_THROWS_AS(future->get_for(1ms), std::logic_error);
        CHECK_THROWS_AS(future->wait(), std::logic_error);
        CHECK_THROWS_AS(future->wait_for(0ms), std::logic_error);
        CHECK_THROWS_AS(future->exception(), std::logic_error);
        CHECK_THROWS_AS(future->done(), std::logic_error);
        CHECK_THROWS_AS(future->running(), std::logic_error);
        CHECK_THROWS_AS(future->cancelled(), std::logic_error);
        CHECK_THROWS_AS(future->output(), std::logic_error);
    }
    for (Future<int>* const future : {&empty, &moved_from}) {
        CHECK_THROWS_AS(future->cancel(), std::logic_error);
        CHECK_THROWS_AS(future->request_stop(), std::logic_error);
        CHECK_THROWS_AS(future->kill(), std::logic_error);
    }
    CHECK_FALSE(taken.cancel());
    CHECK_FALSE(taken.request_stop());
    CHECK_FALSE(taken.kill());
    empty = pool.submit(square, 3);
    CHECK(empty.get() == 9);
}

TEST_CASE("a wait with the longest of times waits for ever") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.submit(square, 2).wait_for(std::chrono::hours::max()));
    CHECK(pool.submit(square, 2).wait_until(std::chrono::steady_clock::time_point::max()));
    CHECK(pool.submit(square, 2).get_for(std::chrono::nanoseconds::max()) == 4);
    CHECK(pool.submit(square, 3).get_for(std::nullopt) == 9);
    CHECK(pool.submit(square, 4).get_for(1e30s) == 16);
}

TEST_CASE("a task that is cancelled before a worker has claimed it never runs") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    auto cancelled = pool.submit(count_up(runs));
    auto other = pool.submit(count_up(runs));
    CHECK(cancelled.cancel());
    CHECK(cancelled.cancel());
    CHECK(cancelled.cancelled());
    CHECK(cancelled.done());
    CHECK_FALSE(cancelled.running());
    CHECK_FALSE(held[0].cancel());
    CHECK_FALSE(held[0].cancelled());
    gate->open();
    CHECK(other.get() == 0);
    CHECK_FALSE(other.valid());
    CHECK(cancelled.exception() != nullptr);
    CHECK_THROWS_AS(cancelled.get(), CancelledError);
    CHECK(runs->load() == 1);
    held[0].wait();
    CHECK_FALSE(held[0].cancel());
}

TEST_CASE("cancel is exact: a task is cancelled, or runs once, and both sides agree") {
    constexpr int tasks = 20'000;
    const Shared<std::array<Counter, tasks>> runs;
    ProcessPoolExecutor pool(2);
    std::mt19937_64 random(test_seed());
    const auto task = with_captures([place = runs.get()](std::size_t i) { ++(*place)[i]; });
    int cancelled = 0;
    for (std::size_t done = 0; done < tasks;) {
        const std::size_t batch = std::min<std::size_t>(1 + random() % 64, tasks - done);
        std::vector<Future<void>> futures;
        for (std::size_t i = 0; i < batch; ++i) futures.push_back(pool.submit(task, done + i));
        const std::size_t first =
            random() % batch; // from here on, at a random moment of the workers
        for (std::size_t i = first; i < batch; ++i) {
            const bool success = futures[i].cancel();
            cancelled += success ? 1 : 0;
            CHECK(futures[i].cancel() == success);
            CHECK(futures[i].cancelled() == success);
            if (success)
                CHECK_THROWS_AS(futures[i].get(), CancelledError);
            else
                futures[i].get();
            REQUIRE((*runs)[done + i] == (success ? 0 : 1));
        }
        for (std::size_t i = 0; i < first; ++i) futures[i].get();
        done += batch;
    }
    pool.shutdown();
    const auto ran = std::ranges::count_if(*runs, [](const Counter& count) { return count == 1; });
    CHECK(ran == tasks - cancelled);
    CHECK(cancelled > 0);
    CHECK(cancelled < tasks);
}

TEST_CASE("futures stay valid when their executor is destroyed") {
    std::optional<ProcessPoolExecutor> pool(std::in_place, 2);
    const std::string large(1 << 20, 'x');
    Future<std::string> text = pool->submit([](std::string it) { return it; }, large);
    Future<int> error = pool->submit([]() -> int { throw ParseError("bad", 7); });
    Future<int> dropped = pool->submit(square, 1);
    pool.reset();
    CHECK(text.done());
    CHECK(text.get() == large);
    CHECK(error_of<ParseError>(error).line == 7);
}

TEST_CASE("a future that is destroyed neither waits for its task nor cancels it") {
    const Shared<Gate> gate;
    const Shared<Counter> runs;
    ProcessPoolExecutor pool(1);
    static_cast<void>(pool.submit(pass(gate)));
    for (int i = 0; i < 100; ++i) static_cast<void>(pool.submit(count_up(runs)));
    CHECK(runs->load() == 0);
    gate->open();
    pool.shutdown();
    CHECK(runs->load() == 100);
}

TEST_CASE("a future may be waited for in another thread than the one that submitted") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    std::optional<int> result;
    std::thread waiter([&, future = pool.submit(square, 6)]() mutable { result = future.get(); });
    gate->open();
    waiter.join();
    CHECK(result == 36);
}

TEST_CASE("standard exceptions come back as what they are") {
    CHECK(thrown_by<std::out_of_range>([] { throw std::out_of_range("there"); }).what() ==
          std::string("there"));
    CHECK(thrown_by<std::system_error>([] {
              throw std::system_error(ENOENT, std::generic_category(), "open");
          }).code() == std::errc::no_such_file_or_directory);
    CHECK_NOTHROW(thrown_by<std::bad_alloc>([] { throw std::bad_alloc(); }));
    CHECK(thrown_by<std::filesystem::filesystem_error>([] {
              std::filesystem::create_directory("/proc/none");
          }).path1() == "/proc/none");
    CHECK_NOTHROW(thrown_by<std::bad_optional_access>([] { std::optional<int>().value(); }));
    CHECK(thrown_by<prong::TimeoutError>([] { throw prong::TimeoutError("mine"); }).what() ==
          std::string("mine"));
}

TEST_CASE("registered exceptions come back as what they are, others as RemoteError") {
    const auto registered_one = thrown_by<ParseError>([] { throw ParseError("bad text", 12); });
    CHECK(registered_one.what() == std::string("bad text"));
    CHECK(registered_one.line == 12);
    const auto other = thrown_by<prong::RemoteError>([] { throw NotRegistered("text"); });
    CHECK(other.what() == std::string("text"));
    CHECK_THAT(other.type_name(), Contains("NotRegistered"));
    const auto number = thrown_by<prong::RemoteError>([] { throw 42; });
    CHECK(number.type_name() == "int");
    const auto bad = thrown_by<prong::RemoteError>([] { throw CannotBeDecoded("was this"); });
    CHECK_THAT(bad.type_name(), Contains("CannotBeDecoded"));
    CHECK_THAT(bad.what(), Contains("was this"));
}

TEST_CASE("an exception comes back with what is nested in it") {
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(throw_nested);
    try {
        future.get();
        FAIL("nothing was thrown");
    } catch (const prong::RemoteError& outer) {
        CHECK(outer.what() == std::string("outer"));
        try {
            std::rethrow_if_nested(outer);
            FAIL("nothing is nested in the outer one");
        } catch (const std::invalid_argument& middle) {
            CHECK(middle.what() == std::string("middle"));
            CHECK_THROWS_AS(std::rethrow_if_nested(middle), ParseError);
        }
    }
}

TEST_CASE("exception() gives what get() would throw, a new object each time") {
    ProcessPoolExecutor pool(1);
    auto future = pool.submit([]() -> int { throw ParseError("bad", 1); });
    const std::exception_ptr first = future.exception();
    const std::exception_ptr second = future.exception();
    REQUIRE((first && second));
    CHECK(first != second);
    CHECK_THROWS_AS(std::rethrow_exception(first), ParseError);
    CHECK(future.valid());
    CHECK_THROWS_AS(future.get(), ParseError);
    CHECK_FALSE(future.valid());
}

TEST_CASE("a long text of an exception arrives whole") {
    const auto error =
        thrown_by<std::runtime_error>([] { throw std::runtime_error(std::string(100'000, 'e')); });
    CHECK(std::string(error.what()) == std::string(100'000, 'e'));
}

TEST_CASE("a result that cannot be decoded is the error of get, and the pool continues") {
    ProcessPoolExecutor pool(1);
    const auto make = [](int value) { return BadResult{value}; };
    auto first = pool.submit(make, 1);
    CHECK_THROWS_AS(first.get(), std::domain_error);
    CHECK_FALSE(first.valid());
    CHECK_THROWS_AS(pool.submit(make, 2).get(), int);
    CHECK(pool.submit(make, 3).get().value == 3);
}

TEST_CASE("an argument that cannot be decoded is the task's error, and the worker continues") {
    ProcessPoolExecutor pool(1);
    const int worker = pool.submit(pid_of_worker).get();
    const auto value = [](const BadResult& it) { return it.value; };
    CHECK_THROWS_AS(pool.submit(value, BadResult{1}).get(), std::domain_error);
    CHECK_THROWS_AS(pool.submit(value, BadResult{2}).get(), prong::RemoteError);
    CHECK(pool.submit(value, BadResult{3}).get() == 3);
    CHECK(pool.submit(pid_of_worker).get() == worker);
}
