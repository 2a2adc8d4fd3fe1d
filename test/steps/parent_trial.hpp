#pragma once

#include "steps/process_tree.hpp"
#include "steps/trial.hpp"

#include <prong/future.hpp>
#include <prong/with_captures.hpp>

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

namespace prong::test {

/// A task that gives back what it is given, and counts its runs.
template <typename T>
auto echo(Counter& runs) {
    return with_captures([place = &runs](T given) {
        place->fetch_add(1);
        return given;
    });
}

template <typename T>
Ending get(Future<T>& future, const T& expected) {
    return ending_of([&] { return future.get() == expected; });
}

inline void check_end(Invariants& invariants, const char* name, Ending ending, const Counter& runs,
                      std::initializer_list<Ending> allowed) {
    invariants.require(std::ranges::count(allowed, ending) != 0,
                       std::string(name) + " came to " + name_of(ending));
    const bool must_not = ending == Ending::cancelled;
    const bool must = ending == Ending::right;
    invariants.require(runs <= (must_not ? 0 : 1) && runs >= (must ? 1 : 0),
                       std::string(name) + " has run " + std::to_string(runs) + " times");
}

inline constexpr Script everything{
    "submit, drop, cancel, ask to stop and get",
    [](CorePool& pool, RunCounts& runs, Invariants& invariants) {
        const int number = next_value();
        const std::string text = next_text(1000);
        curtain_up();
        Future<int> small = pool.submit(echo<int>(runs[0]), number);
        Future<std::string> large = pool.submit(echo<std::string>(runs[1]), text);
        static_cast<void>(pool.submit(echo<std::string>(runs[3]), text));
        Future<int> unwanted = pool.submit(echo<int>(runs[2]), number);
        const bool cancelled = unwanted.cancel();
        const Ending small_end = get(small, number);
        const bool asked = large.request_stop();
        const Ending large_end = get(large, text);
        curtain_down();
        const Ending ends[] = {small_end, large_end, get(unwanted, number)};
        check_end(invariants, "the small task", ends[0], runs[0], {Ending::right, Ending::died});
        check_end(invariants, "the large task", ends[1], runs[1],
                  {Ending::right, Ending::died, asked ? Ending::cancelled : Ending::right});
        if (cancelled)
            check_end(invariants, "the cancelled task", ends[2], runs[2], {Ending::cancelled});
        else
            check_end(invariants, "the unwanted task", ends[2], runs[2],
                      {Ending::right, Ending::died});
        const auto died = std::ranges::count(ends, Ending::died);
        invariants.require(died <= 1, "one death has ended " + std::to_string(died) + " tasks");
    }};

template <typename T, T (*value)()>
inline constexpr auto submit_and_get = [](CorePool& pool, RunCounts& runs, Invariants& invariants) {
    const T expected = value();
    curtain_up();
    Future<T> future = pool.submit(echo<T>(runs[0]), expected);
    const Ending end = get(future, expected);
    curtain_down();
    check_end(invariants, "the task", end, runs[0], {Ending::right, Ending::died});
};

inline constexpr Script one_small{"submit and get an int", submit_and_get<int, next_value>};
inline constexpr Script one_large{"submit and get 1 KiB",
                                  submit_and_get<std::string, [] { return next_text(1000); }>};

template <bool cancel_queued>
inline constexpr auto shut_down = [](CorePool& pool, RunCounts& runs, Invariants& invariants) {
    const int number = next_value();
    const std::string text = next_text(1000);
    Future<int> small = pool.submit(echo<int>(runs[0]), number);
    Future<std::string> large = pool.submit(echo<std::string>(runs[1]), text);
    curtain_up();
    pool.core().shutdown(true, cancel_queued);
    curtain_down();
    invariants.require(small.done() && large.done(), "a task is left");
    const Ending ends[] = {get(small, number), get(large, text)};
    const Ending otherwise = cancel_queued ? Ending::cancelled : Ending::died;
    check_end(invariants, "the small task", ends[0], runs[0],
              {Ending::right, Ending::died, otherwise});
    check_end(invariants, "the large task", ends[1], runs[1],
              {Ending::right, Ending::died, otherwise});
};

inline constexpr Script batch_of_two{
    "submit and get a batch", [](CorePool& pool, RunCounts& runs, Invariants& invariants) {
        const std::string texts[] = {next_text(10), next_text(1000)};
        const auto task = with_captures([first = &runs[0], second = &runs[1]](std::string given) {
            (given.size() == 10 ? first : second)->fetch_add(1);
            return given;
        });
        curtain_up();
        std::vector<Future<std::string>> futures = pool.submit_batch(task, texts);
        const Ending ends[] = {get(futures[0], texts[0]), get(futures[1], texts[1])};
        curtain_down();
        check_end(invariants, "the first task", ends[0], runs[0], {Ending::right, Ending::died});
        check_end(invariants, "the second task", ends[1], runs[1], {Ending::right, Ending::died});
        invariants.require(std::ranges::count(ends, Ending::died) <= 1, "one death has ended both");
    }};

inline constexpr Script shutdown_script{"shutdown", shut_down<false>, true};
inline constexpr Script shutdown_and_cancel{"shutdown with cancel_futures", shut_down<true>, true};

/// What is tried at every point of a way.
struct ParentTrial {
    const char* name;
    Path (ProcessTree::*way)();
    /// `work`: the worker's way. Returns whether it has come to the point.
    bool (*round)(ProcessTree& tree, const Point& point, const Path& work, Invariants& invariants);
    bool ends_tree = false;
};

inline void finish_act(ProcessTree& tree, Invariants& invariants) {
    const std::string violations = tree.to_next_act();
    invariants.require(violations.empty(), violations);
}

/// The parent is at the point, its worker asleep or anywhere in its work.
inline constexpr ParentTrial worker_dies_under_parent{
    .name = "SIGKILL for the worker under the parent",
    .way = &ProcessTree::way_of_parent,
    .round = [](ProcessTree& tree, const Point& point, const Path& work, Invariants& invariants) {
        const bool reached = tree.bring_parent_to(point);
        if (tree.worker_is_called()) tree.bring_worker_to(random_point(work));
        tree.kill_worker();
        finish_act(tree, invariants);
        return reached;
    }};

/// The worker is at the point, the parent asleep, waiting for it.
inline constexpr ParentTrial worker_dies_under_sleeper{
    .name = "SIGKILL for the worker, the parent asleep",
    .way = &ProcessTree::way_of_worker,
    .round = [](ProcessTree& tree, const Point& point, const Path&, Invariants& invariants) {
        tree.to_first_sleep();
        tree.parent().set_out({address_of(&curtain_down)});
        const bool reached = tree.bring_worker_to(point);
        tree.kill_worker();
        tree.parent().arrive();
        finish_act(tree, invariants);
        return reached;
    }};

/// The worker is at the point when its parent is killed.
inline constexpr ParentTrial parent_dies{
    .name = "SIGKILL for the parent",
    .way = &ProcessTree::way_of_worker,
    .round =
        [](ProcessTree& tree, const Point& point, const Path&, Invariants& invariants) {
            tree.to_first_sleep();
            const bool reached = tree.bring_worker_to(point);
            tree.parent().kill();
            invariants.require(tree.worker().await_end() == -SIGKILL, "the worker lives on");
            invariants.require(tree.supervisor().await_end() == 0, "the supervisor failed");
            return reached;
        },
    .ends_tree = true};

/// `supervise` replaces the real supervisor.
inline Tally try_points(const ParentTrial& trial, const Script& script, const Share& share,
                        const CorePool::Supervise& supervise = {}) {
    Path work;
    const auto find_way = [&](ProcessTree& tree) {
        // The first time is not like the others.
        if (!trial.ends_tree) static_cast<void>(tree.to_next_act());
        const Path way = (tree.*trial.way)();
        static_cast<void>(tree.to_next_act());
        work = tree.way_of_worker();
        static_cast<void>(tree.to_next_act());
        return way;
    };
    return try_points(
        trial.name + std::string(", ") + script.name, share,
        [&] { return std::make_unique<ProcessTree>(script, supervise); }, find_way,
        [&](ProcessTree& tree, const Point& point, Invariants& invariants) {
            return trial.round(tree, point, work, invariants);
        },
        trial.ends_tree);
}

} // namespace prong::test
