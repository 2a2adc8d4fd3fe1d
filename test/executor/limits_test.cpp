// What a task may use: memory, processor time, file size.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/cgroup.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <prong/this_task.hpp>

#include <sys/resource.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::LimitExceeded;
using prong::LimitKind;

namespace {

constexpr std::size_t mebibyte = 1 << 20;

/// Takes memory for good and touches it.
void eat(std::size_t bytes) {
    const long page = sysconf(_SC_PAGESIZE);
    void* const memory =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    for (std::size_t i = 0; i < bytes; i += static_cast<std::size_t>(page))
        static_cast<volatile char*>(memory)[i] = 1;
}

void eat_slowly() {
    for (;;) {
        eat(4 * mebibyte);
        std::this_thread::sleep_for(1ms);
    }
}

void spin_for_ever() {
    for (std::atomic<int> i = 0;; ++i) {
    }
}

std::size_t allocate(std::size_t bytes) {
    std::vector<char> memory(bytes, 'x');
    const volatile char* const last = &memory.back(); // else a compiler may do without the memory
    return *last == 'x' ? memory.size() : 0;
}

void write_file(const std::string& path, std::size_t bytes) {
    std::ofstream(path) << std::string(bytes, 'x') << std::flush;
}

} // namespace

TEST_CASE("a task that takes more memory than it may ends with LimitExceeded, and no other") {
    ProcessPoolExecutor pool(2);
    auto greedy =
        pool.with(TaskOptions{.limits = {.memory_bytes = 32 * mebibyte}}).submit(eat_slowly);
    std::vector<Future<int>> others;
    for (int i = 0; i < 100; ++i) others.push_back(pool.submit(square, i));
    const auto error = error_of<LimitExceeded>(greedy);
    CHECK(error.kind() == LimitKind::memory);
    CHECK(error.allowed() == 32 * mebibyte);
    CHECK(error.used() > 32 * mebibyte);
    CHECK_THAT(error.what(), Catch::Contains("eat_slowly()") && Catch::Contains("32.0 MiB"));
    for (int i = 0; i < 100; ++i) CHECK(others[static_cast<std::size_t>(i)].get() == i * i);
    CHECK(pool.with(TaskOptions{.limits = {.memory_bytes = 64 * mebibyte}})
              .submit(allocate, mebibyte)
              .get() == mebibyte);
}

TEST_CASE("a task that uses more processor time than it may ends with LimitExceeded") {
    ProcessPoolExecutor pool(1);
    auto limited = pool.with(TaskOptions{.limits = {.cpu_time = 50ms}});
    auto busy = limited.submit(spin_for_ever);
    const auto error = error_of<LimitExceeded>(busy);
    CHECK(error.kind() == LimitKind::cpu_time);
    CHECK(error.allowed() == 50'000'000);
    CHECK(error.used() > 50'000'000);
    limited.submit([] { std::this_thread::sleep_for(100ms); }).get(); // sleep is free
    for (int i = 0; i < 50; ++i) CHECK(limited.submit(square, i).get() == i * i);
}

TEST_CASE("an allocation beyond the address space that a task may have is LimitExceeded") {
    if (address_sanitizer) return; // has huge mappings
    ProcessPoolExecutor pool(1);
    auto limited = pool.with(TaskOptions{.limits = {.address_space_bytes = 64 * mebibyte}});
    const int before = pool.submit(pid_of_worker).get();
    auto large = limited.submit(allocate, 256 * mebibyte);
    const auto error = error_of<LimitExceeded>(large);
    CHECK(error.kind() == LimitKind::address_space);
    CHECK(error.allowed() == 64 * mebibyte);
    CHECK(error.used() < 32 * mebibyte); // without what it did not get
    auto stepwise = limited.submit([] {
        std::vector<std::vector<char>> pieces;
        for (;;) pieces.emplace_back(4 * mebibyte);
    });
    const std::uint64_t used = error_of<LimitExceeded>(stepwise).used();
    CHECK((used > 48 * mebibyte && used <= 64 * mebibyte));
    const std::vector<std::size_t> sizes{mebibyte, 256 * mebibyte};
    auto results = limited.map(allocate, sizes);
    auto result = results.begin();
    CHECK(*result == mebibyte);
    CHECK_THROWS_AS(*++result, LimitExceeded);
    CHECK(limited.submit(allocate, mebibyte).get() == mebibyte);
    CHECK(pool.submit(allocate, 256 * mebibyte).get() == 256 * mebibyte);
    CHECK(pool.with(TaskOptions{.limits = {.address_space_bytes = SIZE_MAX}})
              .submit(allocate, 256 * mebibyte)
              .get() == 256 * mebibyte);
    CHECK(pool.submit(pid_of_worker).get() == before);
}

TEST_CASE("an element of a chunk beyond the address space is LimitExceeded, and no other element") {
    if (address_sanitizer) return;
    ProcessPoolExecutor pool(1);
    const std::vector<std::size_t> sizes{mebibyte, 256 * mebibyte, 2 * mebibyte};
    auto results = pool.with(TaskOptions{.limits = {.address_space_bytes = 64 * mebibyte}})
                       .map({.chunksize = 3}, allocate, sizes);
    auto result = results.begin();
    CHECK(*result == mebibyte);
    ++result;
    try {
        static_cast<void>(*result);
        FAIL();
    } catch (const LimitExceeded& error) {
        CHECK(error.kind() == LimitKind::address_space);
        CHECK(error.allowed() == 64 * mebibyte);
        CHECK_THAT(error.what(), Catch::Contains("64.0 MiB"));
    }
    CHECK(*++result == 2 * mebibyte);
    auto unlimited = pool.map(
        {.chunksize = 2}, [](int) -> int { throw std::bad_alloc(); }, std::views::iota(0, 2));
    CHECK_THROWS_AS(*unlimited.begin(), std::bad_alloc);
}

TEST_CASE("a file may only grow to what a task may write") {
    const TempDir folder;
    const std::string path = folder.path() / "file";
    ProcessPoolExecutor pool(1);
    auto limited = pool.with(TaskOptions{.limits = {.max_file_bytes = 64 << 10}});
    auto verbose = limited.submit(write_file, path, mebibyte);
    const auto error = error_of<LimitExceeded>(verbose);
    CHECK(error.kind() == LimitKind::file_size);
    CHECK(error.allowed() == 64 << 10);
    CHECK(std::filesystem::file_size(path) == 64 << 10);
    pool.submit(write_file, path, mebibyte).get();
    CHECK(std::filesystem::file_size(path) == mebibyte);
}

TEST_CASE("a pool's limits hold for every task, unless it has its own") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .limits = {.cpu_time = 30ms}});
    auto plain = pool.submit(spin_for_ever);
    CHECK(error_of<LimitExceeded>(plain).allowed() == 30'000'000);
    auto with_timeout = pool.with(TaskOptions{.timeout = 60s}).submit(spin_for_ever);
    CHECK(error_of<LimitExceeded>(with_timeout).allowed() == 30'000'000);
    auto own = pool.with(TaskOptions{.limits = {.cpu_time = 60ms}}).submit(spin_for_ever);
    CHECK(error_of<LimitExceeded>(own).allowed() == 60'000'000);
    CHECK(pool.submit(square, 4).get() == 16);
}

TEST_CASE("no core file is written") {
    ProcessPoolExecutor pool(1);
    const auto core_limit = [] {
        rlimit limit{};
        getrlimit(RLIMIT_CORE, &limit);
        return static_cast<long>(limit.rlim_cur);
    };
    CHECK(pool.submit(core_limit).get() == 0);
}

TEST_CASE("death for lack of memory is distinguished from any other SIGKILL") {
    if (address_sanitizer) return;
    const Cgroup cgroup(Cgroup::memory, 48 * mebibyte);
    if (!cgroup.available()) {
        WARN("no memory cgroup can be made here: nothing tested");
        return;
    }
    const auto result = run_in_child([&cgroup] {
        if (!cgroup.enter()) return 1;
        ProcessPoolExecutor pool(1);
        auto victim = pool.submit(eat, 512 * mebibyte);
        const auto death = error_of<WorkerDied>(victim);
        if (death.signal() != SIGKILL || !death.out_of_memory()) return 2;
        if (std::strstr(death.what(), "memory") == nullptr) return 3;
        auto killed = pool.submit([] { return raise(SIGKILL); });
        if (error_of<WorkerDied>(killed).out_of_memory()) return 4;
        auto retried = pool.with(TaskOptions{.max_retries = 1}).submit(eat, 512 * mebibyte);
        if (!error_of<prong::PoisonedTask>(retried).deaths().back().out_of_memory) return 5;
        return pool.submit(square, 5).get() == 25 ? 0 : 6;
    });
    CHECK(result.err == "");
    CHECK(result.exitcode == 0);
}

TEST_CASE("values written in several pieces may take as much as max_payload_bytes, and no more") {
    using Pair = std::pair<std::string, std::int64_t>; // encoded: 16 bytes and the text
    const std::size_t most = GENERATE(1000U, 4096U, 5000U, 65536U, 100'000U);
    CAPTURE(most);
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_payload_bytes = most});
    const auto make = [](std::size_t size) { return Pair(std::string(size, 'a'), 7); };
    const auto take = [](const std::string& text, std::int64_t /*n*/) { return text.size(); };
    const std::size_t fits = most - 16;
    for (std::size_t size = fits - 20; size <= fits; ++size) {
        CHECK(pool.submit(make, size).get() == make(size));
        CHECK(pool.submit(take, std::string(size, 'a'), 7).get() == size);
    }
    for (std::size_t size = fits + 1; size <= fits + 20; ++size) {
        CHECK_THROWS_AS(pool.submit(make, size).get(), prong::LimitExceeded);
        CHECK_THROWS_AS(pool.submit(take, std::string(size, 'a'), 7), prong::LimitExceeded);
    }
    CHECK_THROWS_WITH(pool.submit(make, fits + 1).get(),
                      Catch::Contains(std::to_string(most + 1) + " bytes") &&
                          Catch::Contains(std::to_string(most) + " bytes"));
}

TEST_CASE("limits of a pool that are out of range are refused when it is made") {
    CHECK_THROWS_AS(ProcessPoolExecutor(PoolOptions{.limits = {.memory_bytes = 0}}),
                    std::invalid_argument);
}

TEST_CASE("a worker that has no memory to say how its task ended dies alone") {
    if (address_sanitizer) return; // has huge mappings
    ProcessPoolExecutor pool(1);
    const TaskOptions options{.timeout = 20ms, .grace = 10s, .capture_output = true};
    auto starving = pool.with(options).submit([] {
        std::cout << std::string(60'000, 'x') << std::endl;
        const rlimit nothing{.rlim_cur = 1, .rlim_max = 1};
        setrlimit(RLIMIT_AS, &nothing);
        for (std::size_t size = mebibyte; size != 0;) {
            void* const volatile memory = std::malloc(size);
            if (memory == nullptr) size /= 2;
        }
        while (!prong::this_task::stop_requested()) std::this_thread::yield();
    });
    CHECK_THROWS_AS(starving.get(), prong::TaskTimeout);
    CHECK(pool.submit(square, 3).get() == 9);
}
