// Arguments and results of every size, and very many tasks.

#include "codec/list.hpp"
#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <prong/prong.hpp>

#include <sys/resource.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

using namespace prong::test;
using Catch::Matchers::Contains;
using prong::LimitExceeded;

namespace {

using Bytes = std::vector<unsigned char>;

constexpr std::size_t kib = 1024;
constexpr std::size_t mib = 1024 * kib;
constexpr std::size_t gib = 1024 * mib;

/// A pattern that does not repeat with any power of two.
unsigned char byte_at(std::size_t position) {
    return static_cast<unsigned char>(position % 251);
}

Bytes make_bytes(std::size_t size) {
    Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = byte_at(i);
    return bytes;
}

/// Where the bytes are first not what they should be; their number if they are.
std::size_t good_bytes(std::span<const unsigned char> bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (bytes[i] != byte_at(i)) return i;
    }
    return bytes.size();
}

Bytes echo(std::span<const unsigned char> bytes) {
    return {bytes.begin(), bytes.end()};
}

/// How much shared memory this process has mapped that is in memory.
std::size_t shared_bytes() {
    std::ifstream status("/proc/self/status");
    for (std::string word; status >> word;) {
        std::size_t size = 0;
        if (word == "RssShmem:" && status >> size) return size * kib;
    }
    throw std::runtime_error("no RssShmem in /proc/self/status");
}

void check_echo(ProcessPoolExecutor& pool, std::size_t size) {
    INFO("size " << size);
    const Bytes result = pool.submit(echo, make_bytes(size)).get();
    REQUIRE(result.size() == size);
    REQUIRE(good_bytes(result) == size);
}

} // namespace

TEST_CASE("a task may have no arguments and no result") {
    ProcessPoolExecutor pool(1);
    for (int i = 0; i < 100; ++i) pool.submit([] {}).get();
    CHECK(pool.submit([] { return 'x'; }).get() == 'x');
    CHECK(pool.submit([](char c) { return c; }, 'y').get() == 'y');
    CHECK(pool.submit(echo, Bytes()).get().empty());
    struct Nothing {};
    static_cast<void>(pool.submit([](Nothing nothing) { return nothing; }, Nothing()).get());
}

TEST_CASE("bytes around the sizes that fit into a record or a small block arrive whole") {
    ProcessPoolExecutor pool(2);
    for (std::size_t size = 0; size <= 100; ++size) check_echo(pool, size);
    for (std::size_t size = 250; size <= 260; ++size) check_echo(pool, size);
    for (const std::size_t around : {512 * std::size_t{1}, kib, 4 * kib, 64 * kib, mib}) {
        for (std::size_t size = around - 16; size <= around + 16; ++size) check_echo(pool, size);
    }
}

TEST_CASE("arguments and results differ in size") {
    ProcessPoolExecutor pool(1);
    const auto make = [](std::size_t size) { return make_bytes(size); };
    for (const std::size_t size : {std::size_t{1}, 90 * std::size_t{1}, 5 * kib, 3 * mib}) {
        CHECK(good_bytes(pool.submit(make, size).get()) == size);
        CHECK(pool.submit(good_bytes, make_bytes(size)).get() == size);
    }
}

TEST_CASE("64 MiB arrive whole, several times over") {
    ProcessPoolExecutor pool(2);
    for (int i = 0; i < 3; ++i) check_echo(pool, 64 * mib);
    std::vector<Future<Bytes>> futures;
    const Bytes bytes = make_bytes(64 * mib + 1);
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(echo, bytes));
    for (auto& future : futures) CHECK(good_bytes(future.get()) == bytes.size());
}

TEST_CASE("1 GiB arrives whole, as argument and as result") {
    if (!full_run()) return;
    ProcessPoolExecutor pool(1);
    check_echo(pool, gib);
}

TEST_CASE("a result larger than 4 GiB arrives whole, or says what limits it") {
    if (!full_run()) return;
    ProcessPoolExecutor pool(1);
    const std::size_t size = 4 * gib + 4097;
    auto future = pool.submit([](std::size_t n) { return make_bytes(n); }, size);
    try {
        const Bytes result = future.get();
        CHECK(result.size() == size);
        CHECK(good_bytes(result) == size);
    } catch (const LimitExceeded& error) {
        CHECK(error.kind() == prong::LimitKind::shared_memory);
        CHECK_THAT(error.what(), Contains("GiB"));
        WARN("not enough memory for this test: " << error.what());
    }
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("an argument list or a result beyond max_payload_bytes is LimitExceeded, no more") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_payload_bytes = mib});
    const auto make = [](std::size_t size) { return make_bytes(size); };
    for (int i = 0; i < 3; ++i) {
        try {
            pool.submit(echo, make_bytes(mib + 1));
            FAIL("accepted");
        } catch (const LimitExceeded& error) {
            CHECK(error.kind() == prong::LimitKind::shared_memory);
            CHECK_THAT(error.what(), Contains("argument list") && Contains("1048576 bytes") &&
                                         Contains("max_payload_bytes"));
        }
        auto future = pool.submit(make, mib + 1);
        const auto error = error_of<LimitExceeded>(future);
        CHECK(error.kind() == prong::LimitKind::shared_memory);
        CHECK_THAT(error.what(), Contains("result") && Contains("1048576 bytes") &&
                                     Contains("max_payload_bytes"));
        CHECK(pool.submit(good_bytes, make_bytes(mib - 16)).get() == mib - 16);
        CHECK(good_bytes(pool.submit(make, mib - 16).get()) == mib - 16);
    }
}

TEST_CASE("a list of more links than max_nesting is refused, in both directions") {
    ProcessPoolExecutor pool(1);
    CHECK_THROWS_AS(pool.submit(count_links, list_of(1'001)), prong::CodecError);
    CHECK_THROWS_WITH(pool.submit(list_of, 1'001).get(),
                      Catch::Contains("PoolOptions::max_nesting"));
    CHECK(pool.submit(count_links, list_of(1'000)).get() == 1'000);
    CHECK(count_links(pool.submit(list_of, 1'000).get()) == 1'000);
}

TEST_CASE("with a larger max_nesting a longer list goes both ways, through map too") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_nesting = 5'000});
    CHECK(pool.submit(count_links, list_of(5'000)).get() == 5'000);
    CHECK(count_links(pool.submit(list_of, 5'000).get()) == 5'000);
    CHECK_THROWS_AS(pool.submit(list_of, 5'001).get(), prong::CodecError);
    for (const Link& list : pool.map(list_of, std::vector{3'000, 5'000})) CHECK(list.next);
}

TEST_CASE("an argument list and a result of the largest size fit at once") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_payload_bytes = mib});
    check_echo(pool, mib - 16);
}

TEST_CASE("when all shared memory is held, submit says so, and works again when it is free") {
    if (address_sanitizer) return; // needs terabytes of address space itself
    const ChildResult child = run_in_child([] {
        const rlimit little{.rlim_cur = gib, .rlim_max = gib}; // then a pool reserves little
        if (setrlimit(RLIMIT_AS, &little) != 0) return 2;
        ProcessPoolExecutor pool(1);
        std::vector<Future<std::size_t>> futures;
        const Bytes bytes = make_bytes(200 * kib);
        std::string message;
        for (int i = 0; i < 1000 && message.empty(); ++i) {
            try {
                futures.push_back(pool.submit(good_bytes, bytes));
            } catch (const LimitExceeded& error) {
                message = error.what();
            }
        }
        if (message.find("in use") == std::string::npos) return 3;
        results_of(futures);
        return pool.submit(good_bytes, bytes).get() == bytes.size() ? 0 : 4;
    });
    CHECK(child.exitcode == 0);
}

TEST_CASE("a million waiting tasks take little memory each, and give it back") {
    const std::size_t count = full_run() ? 10'000'000 : 1'000'000;
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto held = occupy(pool, gate);
    std::vector<Future<void>> futures;
    futures.reserve(count);
    const std::size_t before = shared_bytes();
    for (std::size_t i = 0; i < count; ++i) futures.push_back(pool.submit([] {}));
    const std::size_t taken = shared_bytes() - before;
    CHECK(taken / count <= 200);
    CHECK(taken / count >= 8); // or something else than the tasks was measured
    gate->open();
    for (auto& future : futures) future.get();
    results_of(held);
    CHECK(shared_bytes() < 48 * mib);
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("waiting tasks that are cancelled or dropped give their memory back, too") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    {
        std::vector<Future<void>> futures;
        for (int i = 0; i < 500'000; ++i) {
            Future<void> future = pool.submit([] {});
            if (i % 2 == 0) future.cancel();
            if (i % 4 != 0) futures.push_back(std::move(future));
        }
        CHECK(shared_bytes() > 48 * mib);
        gate->open();
        CHECK(prong::wait(futures).not_done.empty());
    }
    results_of(held);
    // Records of futures that were dropped come back as others are taken.
    const auto idle_again = [&] {
        for (int i = 0; i < 1000; ++i) pool.submit([] {}).get();
        return shared_bytes() < 48 * mib;
    };
    CHECK(eventually(idle_again));
}
