// Where a task's exception was thrown.

#include "executor/helpers.hpp"
#include "support/catch.hpp"

#include <prong/exception.hpp>

#include <pthread.h>

#include <stdexcept>
#include <string>
#include <typeinfo>
#include <vector>

using namespace prong::test;
using Catch::Contains;
using Catch::StartsWith;
using prong::ProcessPoolExecutor;
using prong::RemoteError;
using prong::TaskOptions;
using prong::thrown_at;

namespace {

const TaskOptions capture{.capture_stack = true};

struct ParseError : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct FinalError final : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct ErrorCode {
    int value;
};
[[maybe_unused]] const bool registered = prong::register_exception<ParseError>() &&
                                         prong::register_exception<FinalError>() &&
                                         prong::register_exception<ErrorCode>();

struct UnknownError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// The text of every exception here.
const std::string text = "no such thing";

template <class E>
[[gnu::noinline]] int throw_text() {
    throw E(text);
}

constexpr int line_of_throw = __LINE__ + 2;
[[gnu::noinline]] int throw_range_error(int number) {
    if (number > 0) throw std::out_of_range(text);
    return number;
}

[[gnu::noinline]] int call_thrower(int number) {
    return throw_range_error(number) + 1;
}

[[gnu::noinline]] int throw_number() {
    throw 7;
}

[[gnu::noinline]] int throw_code() {
    throw ErrorCode{7};
}

[[gnu::noinline]] int throw_bad_alloc() {
    throw std::bad_alloc();
}

int throw_nested() {
    try {
        return throw_text<ParseError>();
    } catch (...) {
        std::throw_with_nested(std::logic_error(text));
    }
}

int throw_again() {
    try {
        return throw_range_error(1);
    } catch (const std::exception&) {
        throw;
    }
}

int throw_pointer() {
    try {
        return throw_range_error(1);
    } catch (...) {
        std::rethrow_exception(std::current_exception());
    }
}

int catch_inside() {
    try {
        return throw_range_error(1);
    } catch (const std::exception&) {
        return 0;
    }
}

int take_beyond_end() {
    return std::vector<int>(static_cast<std::size_t>(getpid() != 0)).at(1);
}

/// Throws from a deeper place than a call stack holds.
[[gnu::noinline]] int dive(int depth) {
    return depth == 0 ? throw_range_error(1) : dive(depth - 1) + depth;
}

/// Throws at another place for each element.
int throw_somewhere(int element) {
    switch (element) {
    case 1:
        return throw_range_error(1);
    case 2:
        return throw_text<UnknownError>();
    case 3:
        return throw_bad_alloc();
    default:
        return catch_inside() + element;
    }
}

/// The exception that the task `f(args...)` throws with these options.
template <class... Args>
std::exception_ptr exception_of(const TaskOptions& options, Args... args) {
    ProcessPoolExecutor pool(1);
    return pool.with(options).submit(args...).exception();
}

/// The place where it is thrown.
template <class... Args>
std::string place_of(Args... args) {
    return thrown_at(exception_of(capture, args...));
}

/// Calls `look` with the exception as an `E`, by reference. Throws it if it is no `E`.
template <class E, class Look>
auto with_exception(const std::exception_ptr& exception, Look look) {
    try {
        std::rethrow_exception(exception);
    } catch (const E& error) {
        return look(error);
    }
}

bool has_exact_type(const std::exception_ptr& exception, const std::type_info& type) {
    return with_exception<std::exception>(exception, [&](auto& e) { return typeid(e) == type; });
}

/// How a call stack begins whose innermost function has this name.
auto begins_in(const std::string& function) {
    return StartsWith("#0 (anonymous namespace)::" + function);
}

} // namespace

TEST_CASE("thrown_at names the functions and lines, innermost first") {
    ProcessPoolExecutor pool(1);
    auto future = pool.with(capture).submit(call_thrower, 1);
    try {
        future.get();
        FAIL("nothing was thrown");
    } catch (const std::out_of_range& error) {
        CHECK(error.what() == text);
        const std::string place = thrown_at(error);
        CHECK_THAT(place, begins_in("throw_range_error(int) at "));
        CHECK_THAT(place, Contains("thrown_at_test.cpp:" + std::to_string(line_of_throw)));
        CHECK_THAT(place, Contains("\n#1 (anonymous namespace)::call_thrower(int) at "));
        CHECK(thrown_at(std::current_exception()) == place);
    }
}

TEST_CASE("without capture_stack an exception has its own type and no place") {
    const auto plain = exception_of({}, call_thrower, 1);
    CHECK(has_exact_type(plain, typeid(std::out_of_range)));
    CHECK(thrown_at(plain).empty());
    with_exception<std::exception>(plain, [](auto& error) { CHECK(thrown_at(error).empty()); });
}

TEST_CASE("an exception that no task has thrown has no place") {
    CHECK(thrown_at(std::runtime_error(text)).empty());
    CHECK(thrown_at(std::make_exception_ptr(std::runtime_error(text))).empty());
    CHECK(thrown_at(std::make_exception_ptr(7)).empty());
    CHECK(thrown_at(std::exception_ptr()).empty());
}

TEST_CASE("exceptions of every kind have a place") {
    CHECK_THAT(place_of(take_beyond_end), Contains("(anonymous namespace)::take_beyond_end()"));
    CHECK_THAT(place_of(throw_number), begins_in("throw_number()"));

    const auto parse_error = exception_of(capture, throw_text<ParseError>);
    CHECK_THAT(thrown_at(parse_error), Contains("ParseError>()"));
    with_exception<ParseError>(parse_error, [](auto& error) { CHECK(error.what() == text); });

    const auto code = exception_of(capture, throw_code);
    CHECK_THAT(thrown_at(code), begins_in("throw_code()"));
    with_exception<ErrorCode>(code, [](auto& error) { CHECK(error.value == 7); });

    const auto unknown = exception_of(capture, throw_text<UnknownError>);
    CHECK_THAT(thrown_at(unknown), Contains("UnknownError>()"));
    with_exception<RemoteError>(unknown, [](auto& error) {
        CHECK(error.what() == text);
        CHECK_THAT(error.type_name(), Catch::EndsWith("UnknownError"));
    });
}

TEST_CASE("an exception of a final class stays as it is, without a place") {
    const auto error = exception_of(capture, throw_text<FinalError>);
    CHECK(has_exact_type(error, typeid(FinalError)));
    CHECK(thrown_at(error).empty());
}

TEST_CASE("of nested exceptions the outermost has a place") {
    const auto outer = exception_of(capture, throw_nested);
    CHECK_THAT(thrown_at(outer), Contains("(anonymous namespace)::throw_nested()"));
    with_exception<std::logic_error>(outer, [](auto& error) {
        CHECK(error.what() == text);
        try {
            std::rethrow_if_nested(error);
            FAIL("nothing is nested");
        } catch (const ParseError& inner) {
            CHECK(inner.what() == text);
            CHECK(thrown_at(inner).empty());
        }
    });
}

TEST_CASE("an exception that the task throws again has the place of the last throw") {
    CHECK_THAT(place_of(throw_again), begins_in("throw_again()"));
    CHECK_THAT(place_of(throw_pointer), begins_in("throw_pointer()"));
}

TEST_CASE("what a task catches is not recorded") {
    ProcessPoolExecutor pool(1);
    CHECK(pool.with(capture).submit(catch_inside).get() == 0);
    CHECK_THAT(thrown_at(pool.with(capture).submit(throw_number).exception()),
               begins_in("throw_number()"));
    CHECK(thrown_at(pool.submit(throw_number).exception()).empty()); // by the same worker
}

TEST_CASE("of a deep call stack the innermost functions are known") {
    const std::string place = place_of(dive, 1000);
    CHECK_THAT(place, begins_in("throw_range_error(int)"));
    CHECK_THAT(place, Contains("\n#9 (anonymous namespace)::dive(int)"));
}

TEST_CASE("each element of map has a place of its own") {
    for (const std::size_t chunksize : {1U, 5U}) {
        ProcessPoolExecutor pool(1);
        auto results = pool.with(capture).map(prong::MapOptions{.chunksize = chunksize},
                                              throw_somewhere, std::vector{0, 1, 2, 3, 4});
        std::vector<std::string> places;
        for (auto result = results.begin(); result != results.end(); ++result) {
            try {
                places.push_back(std::to_string(*result));
            } catch (const std::exception& error) {
                places.push_back(thrown_at(error));
            }
        }
        REQUIRE(places.size() == 5);
        CHECK(places[0] == "0");
        CHECK_THAT(places[1], begins_in("throw_range_error(int)"));
        CHECK_THAT(places[2], Contains("UnknownError>()"));
        CHECK_THAT(places[3], begins_in("throw_bad_alloc()"));
        CHECK(places[4] == "4");
    }
}

TEST_CASE("in a map without capture_stack elements have no place") {
    ProcessPoolExecutor pool(1);
    auto results = pool.map(throw_somewhere, std::vector{1});
    try {
        results.get();
        FAIL("nothing was thrown");
    } catch (const std::out_of_range& error) {
        CHECK(thrown_at(error).empty());
        CHECK(typeid(error) == typeid(std::out_of_range));
    }
}

TEST_CASE("an exception keeps its type when a task of another pool throws it again") {
    // What the parent got from one worker, another one gets from its parent.
    const auto pass_on = [] {
        std::rethrow_exception(exception_of(capture, throw_text<ParseError>));
    };
    const auto passed_on = exception_of({}, pass_on);
    CHECK(has_exact_type(passed_on, typeid(ParseError)));
    CHECK(thrown_at(passed_on).empty());
}

TEST_CASE("the end of a thread goes on when exceptions are recorded") {
    ProcessPoolExecutor pool(1);
    const auto end_thread = [] { pthread_exit(nullptr); };
    auto plain = pool.submit(end_thread);
    auto captured = pool.with(capture).submit(end_thread);
    CHECK(error_of<prong::WorkerDied>(captured).exitcode() ==
          error_of<prong::WorkerDied>(plain).exitcode());
    CHECK(pool.submit(square, 3).get() == 9);
}
