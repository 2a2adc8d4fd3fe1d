// Memory stays warm between tasks that need it, and goes back to the system some time later.

#include "base/file.hpp"
#include "executor/helpers.hpp"
#include "os/usage.hpp"
#include "support/catch.hpp"
#include "support/sanitizer.hpp"

#include <prong/pool.hpp>
#include <prong/wait.hpp>

#include <malloc.h>

#include <cstdint>
#include <string>
#include <vector>

using namespace prong::test;
using prong::LimitExceeded;
using prong::Pool;

namespace {

constexpr std::size_t mebibyte = 1 << 20;

/// What may stay.
constexpr std::uint64_t allowance = 64 * mebibyte;

std::vector<char> make(std::size_t size) {
    return std::vector<char>(size, 'x');
}

std::size_t take(const std::vector<char>& bytes) {
    return bytes.size();
}

int identity(int value) {
    return value;
}

std::uint64_t own_bytes() {
    return prong::os::own_resident_bytes(getpid());
}

/// Uses memory that only this task needs. Returns whether the heap gave it a mapping of its own.
bool is_mapped(std::size_t size) {
    const std::vector<char> bytes(size, 'x');
    const auto* const chunk = reinterpret_cast<const std::size_t*>(bytes.data()) - 1;
    return (*chunk & 2) != 0; // how the C library's heap notes it
}

/// Returns how much shared memory this process has mapped and touched.
std::uint64_t shared_bytes() {
    const std::string status = prong::base::read_file("/proc/self/status").value();
    return prong::base::number_after("RssShmem:", status).value() * 1024;
}

/// Waits until the shared memory that this process has touched is not much more than that.
template <typename Meanwhile>
bool shrinks_to(std::uint64_t before, Meanwhile meanwhile) {
    return eventually(
        [&] {
            meanwhile();
            return shared_bytes() <= before + allowance;
        },
        60s);
}

} // namespace

TEST_CASE("the memory of large results goes back to the system when no task needs it any more") {
    ProcessPoolExecutor pool(2);
    pool.submit(identity, 0).get();
    const std::uint64_t before = shared_bytes();
    std::vector<Future<std::vector<char>>> futures;
    for (int i = 0; i < 16; ++i) futures.push_back(pool.submit(make, 24 * mebibyte));
    prong::wait(futures);
    for (auto& future : futures) REQUIRE(future.get().size() == 24 * mebibyte);
    REQUIRE(shared_bytes() > before + 2 * allowance);
    SECTION("while the pool is idle") {
        CHECK(shrinks_to(before, [] {}));
    }
    SECTION("while the pool is busy with small tasks") {
        CHECK(shrinks_to(before, [&] { REQUIRE(pool.submit(take, make(1000)).get() == 1000); }));
    }
    SECTION("when the pool has been shut down") {
        pool.shutdown();
        CHECK(shared_bytes() <= before + allowance);
    }
}

TEST_CASE("the memory of a large result is warm for the next one, however it is taken") {
    Pool pool(1);
    const bool is_async = GENERATE(false, true);
    const auto call = [&] {
        const std::vector<char> bytes = is_async ? pool.apply_async(make, 32 * mebibyte).get()
                                                 : pool.apply(make, 32 * mebibyte);
        return bytes.size();
    };
    for (int i = 0; i < 3; ++i) REQUIRE(call() == 32 * mebibyte);
    CHECK(shared_bytes() >= 32 * mebibyte);
}

TEST_CASE("the memory of a flood of small results goes back, although small tasks go on") {
    ProcessPoolExecutor pool(2);
    pool.submit(identity, 0).get();
    const std::uint64_t before = shared_bytes();
    std::vector<Future<std::vector<char>>> futures;
    for (int i = 0; i < 30'000; ++i) futures.push_back(pool.submit(make, 8000));
    const Future<int> in_use = pool.submit(identity, 1);
    prong::wait(futures);
    for (auto& future : futures) REQUIRE(future.get().size() == 8000);
    REQUIRE(shared_bytes() > before + 2 * allowance);
    CHECK(shrinks_to(before, [&] { REQUIRE(pool.submit(take, make(1000)).get() == 1000); }));
}

TEST_CASE("results that are taken after the pool has ended return their memory at once") {
    ProcessPoolExecutor pool(2);
    const std::uint64_t before = shared_bytes();
    std::vector<Future<std::vector<char>>> futures;
    for (int i = 0; i < 8; ++i) futures.push_back(pool.submit(make, 24 * mebibyte));
    pool.shutdown();
    for (auto& future : futures) REQUIRE(future.get().size() == 24 * mebibyte);
    CHECK(shared_bytes() <= before + allowance);
}

TEST_CASE("a worker keeps the memory of large tasks for the next ones, and then returns it") {
    if (address_sanitizer || thread_sanitizer) return; // they have a heap of their own
    ProcessPoolExecutor pool(1);
    const std::uint64_t before = pool.submit(own_bytes).get();
    constexpr std::size_t large = 100 * mebibyte;
    REQUIRE(pool.submit(make, large).get().size() == large);
    CHECK_FALSE(pool.submit(is_mapped, large).get());
    const pid_t worker = pool.submit(getpid).get();
    SECTION("while it sleeps") {
        CHECK(eventually(
            [&] { return prong::os::own_resident_bytes(worker) <= before + 8 * mebibyte; }, 60s));
    }
    SECTION("while it runs small tasks") {
        CHECK(
            eventually([&] { return pool.submit(own_bytes).get() <= before + 8 * mebibyte; }, 60s));
    }
    CHECK(pool.submit(is_mapped, large).get());
}

TEST_CASE("a task is charged with its own memory only, and with all of it") {
    if (address_sanitizer || thread_sanitizer) return;
    ProcessPoolExecutor pool(1);
    constexpr std::size_t large = 200 * mebibyte;
    const auto limits = GENERATE(prong::TaskLimits{.memory_bytes = large / 2},
                                 prong::TaskLimits{.address_space_bytes = large / 2});
    REQUIRE(pool.submit(make, large).get().size() == large);
    CHECK(pool.with({.limits = limits}).submit(make, large / 8).get().size() == large / 8);
    REQUIRE(pool.submit(make, large).get().size() == large);
    CHECK_THROWS_AS(pool.with({.limits = limits}).submit(make, large).get(), LimitExceeded);
}

TEST_CASE("a heap that the program has set up stays so") {
    if (address_sanitizer || thread_sanitizer) return;
    ProcessPoolExecutor pool(
        PoolOptions{.max_workers = 1, .initializer = [] { mallopt(M_MMAP_THRESHOLD, 1 << 20); }});
    REQUIRE(pool.submit(make, 100 * mebibyte).get().size() == 100 * mebibyte);
    CHECK(pool.submit(is_mapped, 100 * mebibyte).get());
}
