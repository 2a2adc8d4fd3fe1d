// What a task may use, and what errors say about its end.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/cgroup.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <prong/this_task.hpp>

#include <sys/resource.h>

#include <cstdlib>
#include <cstring>
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

[[gnu::noinline]] int crash_in_here(volatile int* place) {
    *place = 1;
    return *place + 1;
}

int call_null() {
    int (*volatile function)() = nullptr;
    return function() + 1;
}

int crash() {
    volatile int* volatile nowhere = nullptr; // so that the compiler does not know
    return crash_in_here(nowhere) + 1;
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

TEST_CASE("the error of a crash says where it was") {
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(crash);
    const auto death = error_of<WorkerDied>(future);
    CHECK(death.signal() == SIGSEGV);
    CHECK_THAT(death.backtrace(), Catch::Contains("crash_in_here(int volatile*)"));
    CHECK_THAT(death.backtrace(), Catch::Contains("limits_test.cpp"));
    auto aborted = pool.submit([] { std::abort(); });
    const auto abortion = error_of<WorkerDied>(aborted);
    CHECK(abortion.signal() == SIGABRT);
    CHECK_THAT(abortion.backtrace(), Catch::Contains("abort"));
    auto exited = pool.submit([] { _exit(3); });
    CHECK(error_of<WorkerDied>(exited).backtrace().empty());
    auto killed = pool.submit([] { return raise(SIGKILL); });
    CHECK(error_of<WorkerDied>(killed).backtrace().empty());
    auto nowhere = pool.submit(call_null);
    CHECK_THAT(error_of<WorkerDied>(nowhere).backtrace(), Catch::Contains("call_null()"));
}

namespace {
[[gnu::noinline]] int overflow(int n) {
    volatile char place[256] = {};
    place[0] = static_cast<char>(n);
    return n < 0 ? n : overflow(n + 1) + place[0];
}
} // namespace

TEST_CASE("a stack overflow and a crash in a thread are reported, too") {
    ProcessPoolExecutor pool(1);
    auto deep = pool.submit(overflow, 0);
    const auto death = error_of<WorkerDied>(deep);
    CHECK(death.signal() == SIGSEGV);
    if (!address_sanitizer) CHECK_THAT(death.backtrace(), Catch::Contains("overflow(int)"));
    auto threaded = pool.submit([] { std::thread([] { crash(); }).join(); });
    CHECK_THAT(error_of<WorkerDied>(threaded).backtrace(),
               Catch::Contains("crash_in_here(int volatile*)"));
    CHECK(pool.submit(square, 2).get() == 4);
}

TEST_CASE("captured output is handed out with the error") {
    const auto talk_and_die = [](int n) {
        std::cout << "to cout " << n << "\n";
        std::fprintf(stderr, "to stderr %d\n", n);
        std::cerr << "an unfinished "
                  << "line";
        if (n == 1) raise(SIGSEGV);
        if (n == 2)
            for (;;) pause();
        return n;
    };
    const auto result = run_in_child([&] {
        ProcessPoolExecutor pool(1);
        auto captured = pool.with(TaskOptions{.timeout = 300ms, .capture_output = true});
        auto crashed = captured.submit(talk_and_die, 1);
        if (error_of<WorkerDied>(crashed).last_output() !=
            "to cout 1\nto stderr 1\nan unfinished line")
            return 1;
        auto stuck = captured.submit(talk_and_die, 2);
        if (error_of<prong::TaskTimeout>(stuck).last_output() != "to cout 2\nto stderr 2\n")
            return 2;
        if (captured.submit(talk_and_die, 3).get() != 3) return 3;
        pool.submit([] { std::cout << "not captured" << std::endl; }).get();
        return 0;
    });
    CHECK(result.exitcode == 0);
    CHECK(result.out == "not captured\n");
    CHECK(result.err == "");
}

TEST_CASE("of the output as much as fits into max_payload_bytes is kept") {
    const auto [payload, least] =
        GENERATE(table<std::size_t, std::size_t>({{1000, 900}, {300, 200}, {1, 20}}));
    const int signal = GENERATE(SIGKILL, SIGSEGV); // a crash has frames to report, too
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_payload_bytes = payload});
    const auto talk_and_die = [](int how) {
        for (int i = 0; i < 1000; ++i) std::printf("line %d\n", i);
        raise(how);
    };
    auto future = pool.with(TaskOptions{.capture_output = true}).submit(talk_and_die, signal);
    const std::string output = error_of<WorkerDied>(future).last_output();
    CHECK(output.size() >= (signal == SIGKILL ? least : 20));
    CHECK(output.ends_with("line 998\nline 999\n"));
}

TEST_CASE("only the end of much output is kept") {
    ProcessPoolExecutor pool(1);
    auto future = pool.with(TaskOptions{.capture_output = true}).submit([] {
        for (int i = 0; i < 1'000'000; ++i) std::printf("line %d of the output\n", i);
        raise(SIGKILL);
    });
    const std::string output = error_of<WorkerDied>(future).last_output();
    CHECK(output.size() == 64 << 10);
    CHECK_THAT(output, Catch::Contains("line 999000 of the output\n"));
}

TEST_CASE("lines of several workers do not mix within a line") {
    const auto result = run_in_child([] {
        ProcessPoolExecutor pool(4);
        const auto talk = [](int n) {
            const std::string piece(100, static_cast<char>('a' + n % 26));
            for (int i = 0; i < 20; ++i) std::cout << piece << piece << piece << '\n';
            for (int i = 0; i < 20; ++i) std::cerr << piece << piece << piece << '\n';
        };
        pool.map(talk, std::views::iota(0, 100)).get();
        return 0;
    });
    CHECK(result.exitcode == 0);
    int wrong = 0;
    int lines = 0;
    for (const std::string& text : {result.out, result.err}) {
        std::istringstream stream(text);
        for (std::string line; std::getline(stream, line); ++lines)
            wrong +=
                line.size() == 300 && line.find_first_not_of(line[0]) == std::string::npos ? 0 : 1;
    }
    CHECK(lines == 4000);
    CHECK(wrong == 0);
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

TEST_CASE("a future has the output of its task after any end") {
    ProcessPoolExecutor pool(1);
    const auto captured = pool.with(TaskOptions{.capture_output = true});
    auto returned = captured.submit(
        [](int n) {
            std::cout << "of cout " << n << "\n" << std::flush;
            std::fputs("of stderr", stderr);
            return std::vector<int>(static_cast<std::size_t>(n), 7);
        },
        GENERATE(0, 3, 5000));
    auto silent = captured.submit(square, 3);
    auto nothing = captured.submit([] { std::puts("of void"); });
    auto thrown = captured.submit([]() -> int {
        std::puts("before");
        throw std::domain_error("thrown");
    });
    auto died = captured.submit([] {
        std::puts("last words");
        std::fflush(stdout);
        std::raise(SIGKILL);
    });
    auto unasked = pool.submit(square, 4);
    CHECK_THAT(returned.output(), Catch::Contains("of cout") && Catch::Contains("of stderr"));
    CHECK(silent.output().empty());
    CHECK(silent.get() == 9);
    CHECK(nothing.output() == "of void\n");
    nothing.get();
    CHECK(thrown.output() == "before\n");
    CHECK_THROWS_WITH(thrown.get(), "thrown");
    CHECK(died.output() == "last words\n");
    CHECK(error_of<WorkerDied>(died).last_output() == "last words\n");
    CHECK(unasked.output().empty());
    CHECK(unasked.get() == 16);
    const auto numbers = returned.get();
    CHECK(std::ranges::count(numbers, 7) == static_cast<std::ptrdiff_t>(numbers.size()));
}

TEST_CASE("of much output the end comes with the result") {
    ProcessPoolExecutor pool(1);
    auto future = pool.with(TaskOptions{.capture_output = true}).submit([] {
        for (int i = 0; i < 100'000; ++i) std::printf("%d\n", i);
        return 5;
    });
    const std::string output = future.output();
    CHECK(output.size() == 64 << 10);
    CHECK(output.ends_with("99998\n99999\n"));
    CHECK(future.get() == 5);
}

TEST_CASE("output for which there is no shared memory is left out, not the result") {
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_payload_bytes = 4096});
    auto future = pool.with(TaskOptions{.capture_output = true}).submit([] {
        std::puts("not kept");
        return std::string(4000, 'x');
    });
    CHECK(future.get() == std::string(4000, 'x'));
    auto much = pool.with(TaskOptions{.capture_output = true}).submit([] {
        for (int i = 0; i < 10'000; ++i) std::puts("0123456789");
        return 3;
    });
    CHECK(much.output().empty());
    CHECK(much.get() == 3);
}

TEST_CASE("the results of a captured map are what they are without") {
    ProcessPoolExecutor pool(2);
    const auto talk = [](int n) {
        std::printf("%d\n", n);
        return 2 * n;
    };
    const auto captured = pool.with(TaskOptions{.capture_output = true});
    const auto results =
        captured.map(prong::MapOptions{.chunksize = 4}, talk, std::views::iota(0, 10)).get();
    for (int i = 0; i < 10; ++i) CHECK(results[static_cast<std::size_t>(i)] == 2 * i);
}
