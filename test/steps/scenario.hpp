#pragma once

#include "executor/core_pool.hpp"
#include "executor/invariants.hpp"

#include <prong/task_options.hpp>
#include <prong/with_captures.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace prong::test {

/// What the tasks of a scenario count their runs in.
using RunCounts = std::array<Counter, 8>;

/// What a worker is given to do while it is stepped through, and how that normally ends.
struct Scenario {
    const char* name;
    std::vector<Expected> (*submit)(CorePool& pool, RunCounts& runs);
};

/// Gives back what it is given, and counts its run.
template <typename T>
Expected submit_echo(CorePool& pool, Counter& runs, const char* name, T value,
                     const TaskOptions& options = {}) {
    const auto echo = with_captures([place = &runs](T given) {
        place->fetch_add(1);
        return given;
    });
    auto future = pool.submit_with(&options, echo, value);
    return {name, std::move(future), std::move(value), runs, Ending::right, options.max_retries};
}

inline std::vector<Expected> one(Expected task) {
    std::vector<Expected> tasks;
    tasks.push_back(std::move(task));
    return tasks;
}

/// No two tasks give the same, so that an old result is not taken for a new one.
inline int next_value() {
    static int last = 0;
    return ++last;
}
inline std::string next_text(std::size_t size) {
    std::string text = std::to_string(next_value());
    for (std::size_t i = text.size(); i < size; ++i) text += static_cast<char>('a' + i * i % 26);
    return text;
}

inline constexpr Scenario small_task{"an int", [](CorePool& pool, RunCounts& runs) {
                                         return one(
                                             submit_echo(pool, runs[0], "the task", next_value()));
                                     }};

inline constexpr Scenario block_task{
    "1 KiB", [](CorePool& pool, RunCounts& runs) {
        return one(submit_echo(pool, runs[0], "the task", next_text(1000)));
    }};

inline constexpr Scenario large_task{
    "100 KiB", [](CorePool& pool, RunCounts& runs) {
        return one(submit_echo(pool, runs[0], "the task", next_text(100 * 1024)));
    }};

inline constexpr Scenario throwing_task{
    "an exception", [](CorePool& pool, RunCounts& runs) {
        const auto fail = with_captures([place = runs.data()]() -> int {
            place->fetch_add(1);
            throw std::runtime_error(std::string(100, 'x')); // does not fit into the record
        });
        return one({"the task", pool.submit(fail), 0, runs[0], Ending::threw});
    }};

inline constexpr Scenario task_with_options{
    "1 KiB, with options", [](CorePool& pool, RunCounts& runs) {
        return one(submit_echo(pool, runs[0], "the task", next_text(1000),
                               {.timeout = std::chrono::hours(1), .capture_output = true}));
    }};

inline constexpr Scenario hurried_task{
    "1 KiB, and 1 ms of time", [](CorePool& pool, RunCounts& runs) {
        using namespace std::chrono_literals;
        return one(submit_echo(pool, runs[0], "the task", next_text(1000),
                               {.timeout = 1ms, .grace = 0ns, .capture_output = true}));
    }};

inline constexpr Scenario retried_task{
    "1 KiB, and a retry", [](CorePool& pool, RunCounts& runs) {
        return one(submit_echo(pool, runs[0], "the task", next_text(1000), {.max_retries = 1}));
    }};

inline constexpr Scenario three_tasks{
    "two tasks and a cancelled one between", [](CorePool& pool, RunCounts& runs) {
        const auto count = with_captures([place = &runs[1]] { return place->fetch_add(1); });
        std::vector<Expected> tasks;
        tasks.push_back(submit_echo(pool, runs[0], "the first", next_value()));
        Future<int> cancelled = pool.submit(count);
        const Ending ending = cancelled.cancel() ? Ending::cancelled : Ending::right;
        tasks.emplace_back("the cancelled one", std::move(cancelled), 0, runs[1], ending);
        tasks.push_back(submit_echo(pool, runs[2], "the last", next_value()));
        return tasks;
    }};

} // namespace prong::test
