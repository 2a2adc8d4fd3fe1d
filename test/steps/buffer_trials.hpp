#pragma once

#include "buffer/memory.hpp"
#include "steps/trial.hpp"

#include <prong/shared_buffer.hpp>
#include <prong/with_captures.hpp>

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

/// \file
/// Tasks with buffers, and what must hold of these when a worker is killed. `Buffer` is
/// `SharedBuffer<int>` or a mutant of it.

namespace prong::test {

inline constexpr std::size_t steps_buffer_size = 300;

template <typename Buffer>
Buffer filled(int number) {
    Buffer buffer(steps_buffer_size);
    std::fill_n(buffer.data(), steps_buffer_size, number);
    return buffer;
}
template <typename Buffer>
bool is_filled(const Buffer& buffer, int number) {
    return buffer.size() == steps_buffer_size &&
           std::count(buffer.data(), buffer.data() + buffer.size(), number) ==
               static_cast<std::ptrdiff_t>(steps_buffer_size);
}

/// A task gets a buffer, and returns it and another one. A retry must find it again.
template <typename Buffer>
Expected submit_buffer(CorePool& pool, Counter& runs, const TaskOptions& options = {}) {
    const int number = next_value();
    const auto task = with_captures([place = &runs, number](Buffer buffer) {
        place->fetch_add(1);
        if (!is_filled(buffer, number)) return std::pair(Buffer(), Buffer());
        return std::pair(std::move(buffer), filled<Buffer>(-number));
    });
    auto future = pool.submit_with(&options, task, filled<Buffer>(number));
    const auto is_right = [number](const std::pair<Buffer, Buffer>& result) {
        return is_filled(result.first, number) && is_filled(result.second, -number);
    };
    return {"a task with a buffer", std::move(future),  is_right, runs,
            Ending::right,          options.max_retries};
}

template <typename Buffer>
inline constexpr Scenario buffer_task{"a buffer", [](CorePool& pool, RunCounts& runs) {
                                          return one(submit_buffer<Buffer>(pool, runs[0]));
                                      }};

template <typename Buffer>
inline constexpr Scenario retried_buffer_task{
    "a buffer, and a retry", [](CorePool& pool, RunCounts& runs) {
        return one(submit_buffer<Buffer>(pool, runs[0], {.max_retries = 1}));
    }};

/// A task gets a view, and returns another view of the same buffer.
inline constexpr Scenario view_task{
    "a view", [](CorePool& pool, RunCounts& runs) {
        const int number = next_value();
        const auto task = with_captures([place = runs.data()](SharedView<int> view) {
            place->fetch_add(1);
            return view;
        });
        Future<SharedView<int>> future =
            pool.submit(task, filled<SharedBuffer<int>>(number).share());
        const auto is_right = [number](const SharedView<int>& view) {
            return is_filled(view, number);
        };
        return one({"a task with a view", std::move(future), is_right, runs[0]});
    }};

/// All futures are taken: no parcel is left.
inline void check_no_parcel(Invariants& invariants) {
    buffer::sweep();
    int count = 0;
    buffer::for_each_parcel([&](const buffer::Cell&) { ++count; });
    invariants.require(count == 0, std::to_string(count) + " buffers or references are left");
}

inline constexpr Trial killed_with_buffer{
    .name = "SIGKILL",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            kill_and_check(stage, tasks, invariants);
            check_no_parcel(invariants);
        },
};

inline constexpr Trial dropped_with_buffer{
    .name = "the future is dropped",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            drop_and_check(stage, tasks, invariants);
            check_no_parcel(invariants);
        },
};

inline constexpr Trial dropped_and_killed_with_buffer{
    .name = "the future is dropped, and SIGKILL",
    .act =
        [](Stage& stage, std::vector<Expected>& tasks, Invariants& invariants) {
            tasks.clear();
            killed_with_buffer.act(stage, tasks, invariants);
        },
};

} // namespace prong::test
