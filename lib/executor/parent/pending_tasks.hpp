#pragma once

#include "executor/parent/core.hpp"

#include <prong/detail/pool_reference.hpp>
#include <prong/detail/task_handle.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace prong::executor {

/// When all pending tasks are checked, so that this takes only a small share of the time.
class CheckSchedule {
public:
    using Clock = std::chrono::steady_clock;

    /// The shortest time between such checks, unless tasks have left the queue without a worker.
    static constexpr Clock::duration interval = std::chrono::milliseconds(16);

    [[nodiscard]] Clock::time_point next() const { return next_; }

    /// Brings the next check forward: tasks have left the queue without a worker.
    void hasten() { next_ = std::min(next_, last_ + departure_share * last_cost_); }

    /// Runs `check`, and plans the next one by what it costs.
    template <typename Check>
    void run(Check check) {
        const Clock::time_point start = Clock::now();
        check();
        last_ = Clock::now();
        last_cost_ = last_ - start;
        next_ = last_ + std::max(interval, share * last_cost_);
    }

private:
    /// The inverse of the share of time: when tasks have left the queue without a worker, and else.
    static constexpr int departure_share = 16;
    static constexpr int share = 512;

    Clock::time_point last_ = Clock::now();
    Clock::duration last_cost_{};
    Clock::time_point next_ = last_ + interval;
};

/// Tasks of one pool whose end is awaited. Finds those that have ended at a cost for each that does
/// not depend on how many are pending: a worker ends only tasks that the head of their lane has
/// passed, and at most as many of these are pending as there are workers and retries.
///
/// An `Item` stands for one of the tasks: `key()`, and `is_wanted()`, which is false once its end
/// is not awaited any more. `ended(item)` is called for an item before it is removed.
///
/// Thread safety: one thread at a time.
template <typename Item>
class PendingTasks {
public:
    void add(PoolCore& core, Item item);

    [[nodiscard]] std::size_t queued() const {
        std::size_t count = 0;
        for (const Lane& lane : lanes_) count += lane.tasks.size() - lane.first;
        return count;
    }
    [[nodiscard]] std::size_t size() const { return passed_.size() + queued(); }

    /// Checks the tasks that a worker may have ended, with `is_audit` also whether they can still
    /// end. Checks all when that is known to be needed. Returns whether other tasks have left the
    /// queue since all were checked.
    template <typename Ended>
    bool check(PoolCore& core, bool is_audit, Ended ended);

    template <typename Ended>
    void check_all(PoolCore& core, Ended ended);

    /// Calls `mark(item)` for each claimed task, and once for each queued one.
    template <typename Mark>
    void mark(Mark mark);

    /// Removes the items that are not wanted.
    void remove_unwanted();

private:
    /// Tasks that the head of a lane had not passed at the last check, in the lane's order.
    struct Lane {
        struct Queued {
            ring::Position position;
            Item item;
        };
        /// Removes the tasks before `first`: at once if `all`, else only when they are at least
        /// half.
        void shrink(bool all) {
            if (first == 0 || (!all && first < tasks.size() / 2)) return;
            tasks.erase(tasks.begin(), tasks.begin() + static_cast<std::ptrdiff_t>(first));
            marked -= first;
            first = 0;
        }

        std::vector<Queued> tasks;
        std::size_t first = 0;  ///< the head has passed the tasks before it
        std::size_t marked = 0; ///< the tasks before it are marked or passed
        bool sorted = true;
    };

    void pass(PoolCore& core);
    template <typename Items, typename Remove>
    static void remove_from(Items& items, Remove remove) {
        std::erase_if(items, [&](auto& element) { return remove(item_of(element)); });
    }
    template <typename Remove>
    void remove_from_lanes(Remove remove);
    static Item& item_of(Item& item) { return item; }
    static Item& item_of(typename Lane::Queued& queued) { return queued.item; }
    /// Returns the condition on which `act` (`update` or `resolve`) removes an item.
    template <typename Act, typename Ended>
    static auto has_ended_after(PoolCore& core, Act act, Ended& ended) {
        return [&core, act, &ended](Item& item) {
            if (!item.is_wanted()) return true;
            if (!is_final(std::invoke(act, core, item.key()).state)) return false;
            ended(item);
            return true;
        };
    }

    std::array<Lane, ring::lane_count> lanes_;
    std::vector<Item> passed_;
    std::optional<std::uint64_t> departures_; ///< at the last check of all tasks
};

template <typename Item>
void PendingTasks<Item>::add(PoolCore& core, Item item) {
    const detail::TaskKey key = item.key();
    if (key.lane == detail::TaskKey::no_lane) return passed_.push_back(std::move(item));
    const ring::Ring& ring = core.state().lanes[ring::Lane{key.lane}];
    const ring::Position position = ring.position_of(key.generation);
    if (ring.has_passed(position)) return passed_.push_back(std::move(item));
    Lane& lane = lanes_[key.lane];
    if (!lane.tasks.empty() && position < lane.tasks.back().position) lane.sorted = false;
    lane.tasks.push_back({.position = position, .item = std::move(item)});
}

template <typename Item>
template <typename Ended>
bool PendingTasks<Item>::check(PoolCore& core, bool is_audit, Ended ended) {
    const bool is_first = !departures_;
    if (is_first) departures_ = core.departures();
    core.poll_signal();
    if (core.poll_health() || (is_first && core.may_queue_ended())) check_all(core, ended);
    pass(core);
    if (is_audit)
        remove_from(passed_, has_ended_after(core, &PoolCore::resolve, ended));
    else
        remove_from(passed_, has_ended_after(core, &PoolCore::update, ended));
    return core.departures() != departures_ || core.has_late();
}

template <typename Item>
void PendingTasks<Item>::pass(PoolCore& core) {
    for (std::size_t i = 0; i < ring::lane_count; ++i) {
        Lane& lane = lanes_[i];
        if (!lane.sorted) {
            lane.shrink(true);
            std::ranges::sort(lane.tasks, {}, &Lane::Queued::position);
            lane.sorted = true;
            lane.marked = 0;
        }
        const ring::Ring& ring = core.state().lanes[static_cast<ring::Lane>(i)];
        for (; lane.first != lane.tasks.size() && ring.has_passed(lane.tasks[lane.first].position);
             ++lane.first)
            passed_.push_back(std::move(lane.tasks[lane.first].item));
        lane.marked = std::max(lane.marked, lane.first);
        lane.shrink(false);
    }
}

template <typename Item>
template <typename Ended>
void PendingTasks<Item>::check_all(PoolCore& core, Ended ended) {
    core.expire_late();
    departures_ = core.departures(); // read first, so that none is missed
    const auto has_ended = has_ended_after(core, &PoolCore::resolve, ended);
    remove_from(passed_, has_ended);
    remove_from_lanes(has_ended);
}

template <typename Item>
template <typename Mark>
void PendingTasks<Item>::mark(Mark mark) {
    for (const Item& item : passed_) mark(item);
    for (Lane& lane : lanes_) {
        for (; lane.marked != lane.tasks.size(); ++lane.marked) mark(lane.tasks[lane.marked].item);
    }
}

template <typename Item>
void PendingTasks<Item>::remove_unwanted() {
    const auto is_unwanted = [](const Item& item) { return !item.is_wanted(); };
    remove_from(passed_, is_unwanted);
    remove_from_lanes(is_unwanted);
}

template <typename Item>
template <typename Remove>
void PendingTasks<Item>::remove_from_lanes(Remove remove) {
    for (Lane& lane : lanes_) {
        lane.shrink(true);
        const std::size_t before = lane.tasks.size();
        remove_from(lane.tasks, remove);
        if (lane.tasks.size() != before) lane.marked = 0;
    }
}

} // namespace prong::executor
