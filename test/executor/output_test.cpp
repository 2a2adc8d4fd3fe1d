// Output of tasks: captured, or mixed on the program's own streams.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

using namespace prong::test;

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
