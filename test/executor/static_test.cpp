// Pools with static storage duration. In a static build the program's objects are made before those
// of the library, so this shows that the library has none.

#include "support/catch.hpp"
#include "support/child.hpp"

#include <prong/prong.hpp>

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <ios>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

using namespace prong::test;
using prong::Future;
using prong::PoolOptions;
using prong::ProcessPoolExecutor;
using prong::TaskOptions;

namespace {

struct Early : std::runtime_error {
    Early(const std::string& text, int at) : std::runtime_error(text), line(at) {}
    explicit Early(const std::string& text) : std::runtime_error(text) {}
    template <class Archive>
    void serialize(Archive& archive) {
        archive(line);
    }
    int line = 0;
};
struct Late : std::runtime_error {
    using std::runtime_error::runtime_error;
};

int square(int n) {
    return n * n;
}

/// Throws the exception of this number.
int fail(int which) {
    switch (which) {
    case 0:
        throw std::out_of_range("out of range");
    case 1:
        throw std::bad_alloc();
    case 2:
        throw std::system_error(2, std::generic_category(), "open");
    case 3:
        std::ifstream().exceptions(std::ios::badbit),
            std::ios(nullptr).exceptions(std::ios::badbit);
        return 0;
    case 4:
        throw prong::TimeoutError("timeout");
    case 5:
        throw Early("early", 7);
    case 6:
        throw Late("late");
    case 7:
        try {
            throw std::invalid_argument("inner");
        } catch (...) {
            std::throw_with_nested(Late("outer"));
        }
    default:
        return which;
    }
}

std::string use_in_worker();

[[maybe_unused]] const bool early_is_registered = prong::register_exception<Early>();
ProcessPoolExecutor pool(2);
Future<int> future = pool.submit(square, 7);
Future<int> failing = pool.submit(fail, 0);
std::vector<int> early_results = pool.map(square, std::vector<int>{1, 2, 3}).get();
[[maybe_unused]] const bool late_is_registered = prong::register_exception<Late>();

[[maybe_unused]] const bool zygote_is_started = (prong::start_zygote(), true);
ProcessPoolExecutor zygote_pool(PoolOptions{.max_workers = 1});

std::string use_in_worker() {
    try {
        static_cast<void>(pool.submit(square, 1));
        return "no error";
    } catch (const std::logic_error&) {
        return "std::logic_error";
    }
}

void check_exceptions(ProcessPoolExecutor& executor) {
    CHECK_THROWS_AS(executor.submit(fail, 0).get(), std::out_of_range);
    CHECK_THROWS_AS(executor.submit(fail, 1).get(), std::bad_alloc);
    CHECK_THROWS_AS(executor.submit(fail, 2).get(), std::system_error);
    CHECK_THROWS_AS(executor.submit(fail, 3).get(), std::ios_base::failure);
    CHECK_THROWS_AS(executor.submit(fail, 4).get(), prong::TimeoutError);
    try {
        executor.submit(fail, 5).get();
        FAIL_CHECK("no exception");
    } catch (const Early& error) {
        CHECK(error.line == 7);
    }
    CHECK_THROWS_AS(executor.submit(fail, 6).get(), Late);
    try {
        executor.submit(fail, 7).get();
        FAIL_CHECK("no exception");
    } catch (const Late& outer) {
        CHECK(std::string(outer.what()) == "outer");
        CHECK_THROWS_AS(dynamic_cast<const std::nested_exception&>(outer).rethrow_nested(),
                        std::invalid_argument);
    }
}

} // namespace

TEST_CASE("exceptions come back from the workers of a static pool as themselves") {
    check_exceptions(pool);
    check_exceptions(zygote_pool);
}

TEST_CASE("futures and results of a static pool, made before main, are good in main") {
    CHECK(future.get() == 49);
    CHECK_THROWS_AS(failing.get(), std::out_of_range);
    CHECK(early_results == std::vector<int>{1, 4, 9});
}

TEST_CASE("a worker of a static pool that uses it gets a std::logic_error") {
    CHECK(pool.submit(use_in_worker).get() == "std::logic_error");
}

TEST_CASE("a static pool takes all kinds of tasks") {
    const auto careful = pool.with(
        TaskOptions{.timeout = std::chrono::minutes(1), .max_retries = 1, .capture_output = true});
    CHECK(careful.submit([] { return prong::this_task::stop_token().stop_possible(); }).get());
    CHECK(careful.submit([] { return std::printf("some words\n"); }).get() == 11);
    CHECK(pool.submit([] { return prong::current_process().name().substr(0, 11); }).get() ==
          "PoolWorker-");
    CHECK_THROWS_AS(pool.submit([] { _exit(3); }).get(), prong::WorkerDied);
    CHECK(zygote_pool.submit(square, 5).get() == 25);
}

TEST_CASE("a program with static pools ends as it should") {
    const ChildResult result = run_self({"futures and results of a static pool*"});
    INFO(result.out + result.err);
    CHECK(result.exitcode == 0);
    CHECK(result.out.find("All tests passed") != std::string::npos);
}
