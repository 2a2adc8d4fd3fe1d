#include <prong/detail/completion_set.hpp>
#include <prong/detail/pool_reference.hpp>

#include "executor/parent/core.hpp"

#include <prong/wait.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <list>
#include <optional>
#include <vector>

namespace prong::detail {
namespace {

using Clock = std::chrono::steady_clock;
using executor::PoolCore;

/// The longest time between checks of all tasks, for deadlines that pass in the queue and tasks
/// that no process is left to end.
constexpr Clock::duration look_interval = std::chrono::milliseconds(16);

/// The inverse of the share of time that these checks may take.
constexpr int look_share = 16;

struct Item {
    const TaskHandle* task;
    std::size_t number;
};

/// Tasks that the head of a lane had not passed at the last check, in the lane's order.
struct Lane {
    struct Queued {
        ring::Position position;
        Item item;
    };
    /// Removes the tasks before `first`: at once if `all`, else only when they are at least half.
    void shrink(bool all) {
        if (first == 0 || (!all && first < tasks.size() / 2)) return;
        tasks.erase(tasks.begin(), tasks.begin() + static_cast<std::ptrdiff_t>(first));
        watched -= first;
        first = 0;
    }

    std::vector<Queued> tasks;
    std::size_t first = 0;   ///< the head has passed the tasks before it
    std::size_t watched = 0; ///< the tasks before it are watched or passed
    bool sorted = true;
};

/// The tasks of one pool. A worker ends only tasks that the head of its lane has passed, and at
/// most as many of these are pending as there are workers and retries.
struct Part {
    explicit Part(PoolCore& core) : pool(core) {}

    [[nodiscard]] std::size_t pending() const {
        std::size_t count = passed.size();
        for (const Lane& lane : lanes) count += lane.tasks.size() - lane.first;
        return count;
    }

    PoolReference pool;
    std::array<Lane, ring::lane_count> lanes;
    std::vector<Item> passed;
    std::optional<std::uint64_t> departures; ///< at the last check of all tasks
};

} // namespace

class CompletionSet::State {
public:
    void add(const TaskHandle& task, std::size_t number);
    bool wait(Deadline limit, const std::atomic<bool>* interrupted);
    [[nodiscard]] std::size_t pending() const;

    std::vector<std::size_t> ended;

private:
    Part& part_of(PoolCore& core);
    void look(Part& part);
    static void pass(Part& part);
    static bool watch(Part& part);
    void look_at_all();
    void look_at_all_of(Part& part);
    /// Moves items whose status is final after `act` (`update` or `resolve`) to `ended`.
    template <typename Items, typename Act>
    void take(Items& items, Act act);

    static const Item& item_of(const Item& item) { return item; }
    static const Item& item_of(const Lane::Queued& queued) { return queued.item; }

    std::list<Part> parts_;
    Part* last_part_ = nullptr;
    Clock::time_point last_look_ = Clock::now();
    Clock::duration last_cost_{};
    Clock::time_point next_look_ = last_look_ + look_interval;
};

Part& CompletionSet::State::part_of(PoolCore& core) {
    const auto found =
        std::ranges::find(parts_, &core, [](const Part& part) { return &part.pool.core(); });
    return found != parts_.end() ? *found : parts_.emplace_back(core);
}

void CompletionSet::State::add(const TaskHandle& task, std::size_t number) {
    // `core()` checks the process: once per pool here, and again in `wait`.
    const bool is_known = last_part_ != nullptr && &last_part_->pool.core() == task.pool();
    if (!is_known) last_part_ = &part_of(task.core());
    Part& part = *last_part_;
    const Item item{.task = &task, .number = number};
    const TaskKey& key = task.key();
    if (key.lane == TaskKey::no_lane) return part.passed.push_back(item);
    const ring::Ring& ring = part.pool.core().state().lanes[ring::Lane{key.lane}];
    const ring::Position position = ring.position_of(key.generation);
    if (ring.has_passed(position)) return part.passed.push_back(item);
    Lane& lane = part.lanes[key.lane];
    if (!lane.tasks.empty() && position < lane.tasks.back().position) lane.sorted = false;
    lane.tasks.push_back({.position = position, .item = item});
}

std::size_t CompletionSet::State::pending() const {
    std::size_t count = 0;
    for (const Part& part : parts_) count += part.pending();
    return count;
}

bool CompletionSet::State::wait(Deadline limit, const std::atomic<bool>* interrupted) {
    ended.clear();
    std::vector<PoolCore*> cores;
    std::vector<std::uint32_t> seen;
    for (;;) {
        cores.clear();
        seen.clear();
        bool has_news = false;
        for (Part& part : parts_) {
            if (part.pending() == 0) continue;
            part.pool.core().require_own_process();
            cores.push_back(&part.pool.core());
            seen.push_back(cores.back()->completions());
            look(part);
            if (ended.empty()) has_news = watch(part) || part.pending() == 0 || has_news;
        }
        const Clock::time_point now = Clock::now();
        const bool is_late = Deadline::at(now) >= limit;
        if (ended.empty() && (is_late || now >= next_look_)) look_at_all();
        const bool is_interrupted = interrupted != nullptr && interrupted->load();
        if (!ended.empty() || cores.empty() || is_late || is_interrupted) return !ended.empty();
        if (has_news) continue;
        PoolCore::sleep_until_completion(cores, seen, std::min(limit, Deadline::at(next_look_)));
    }
}

/// Checks the tasks that a worker may have ended, and decides when to check all.
void CompletionSet::State::look(Part& part) {
    PoolCore& core = part.pool.core();
    const bool is_first = !part.departures;
    if (is_first) part.departures = core.departures();
    if (core.poll_health() || (is_first && core.may_queue_ended())) look_at_all_of(part);
    pass(part);
    take(part.passed, &PoolCore::update);
    if (core.departures() != part.departures)
        next_look_ = std::min(next_look_, last_look_ + look_share * last_cost_);
}

void CompletionSet::State::pass(Part& part) {
    for (std::size_t i = 0; i < ring::lane_count; ++i) {
        Lane& lane = part.lanes[i];
        if (!lane.sorted) {
            lane.shrink(true);
            std::ranges::sort(lane.tasks, {}, &Lane::Queued::position);
            lane.sorted = true;
            lane.watched = 0;
        }
        const ring::Ring& ring = part.pool.core().state().lanes[static_cast<ring::Lane>(i)];
        while (lane.first != lane.tasks.size() && ring.has_passed(lane.tasks[lane.first].position))
            part.passed.push_back(lane.tasks[lane.first++].item);
        lane.watched = std::max(lane.watched, lane.first);
        lane.shrink(false);
    }
}

/// Marks each task as watched. Returns whether one has ended already.
bool CompletionSet::State::watch(Part& part) {
    bool has_ended = false;
    const auto watch_task = [&](const Item& item) {
        const TaskHandle& task = *item.task;
        if (!task.valid()) return;
        const ring::Status now =
            task.core().watch(task.key().index, ring::Status::watched_with_others);
        has_ended = has_ended || is_final(now.state);
    };
    for (const Item& item : part.passed) watch_task(item);
    for (Lane& lane : part.lanes) {
        for (; lane.watched != lane.tasks.size(); ++lane.watched)
            watch_task(lane.tasks[lane.watched].item);
    }
    return has_ended;
}

void CompletionSet::State::look_at_all() {
    const Clock::time_point start = Clock::now();
    for (Part& part : parts_) look_at_all_of(part);
    last_look_ = Clock::now();
    last_cost_ = last_look_ - start;
    next_look_ = last_look_ + std::max(look_interval, look_share * last_cost_);
}

void CompletionSet::State::look_at_all_of(Part& part) {
    PoolCore& core = part.pool.core();
    core.expire_late();
    part.departures = core.departures(); // read first, so that none is missed
    take(part.passed, &PoolCore::resolve);
    for (Lane& lane : part.lanes) {
        lane.shrink(true);
        const std::size_t before = lane.tasks.size();
        take(lane.tasks, &PoolCore::resolve);
        if (lane.tasks.size() != before) lane.watched = 0;
    }
}

template <typename Items, typename Act>
void CompletionSet::State::take(Items& items, Act act) {
    std::erase_if(items, [&](const auto& element) {
        const Item& item = item_of(element);
        if (!item.task->valid()) return true;
        if (!is_final(std::invoke(act, item.task->core(), item.task->key()).state)) return false;
        ended.push_back(item.number);
        return true;
    });
}

WaitResult wait_for_tasks(std::span<const TaskHandle* const> tasks, ReturnWhen when,
                          const Timeout& timeout) {
    const Deadline limit = Deadline::after(timeout);
    for (const TaskHandle* const task : tasks) task->require_valid(); // before any wait
    std::vector<bool> ended(tasks.size());
    if (when == ReturnWhen::all_completed) {
        for (std::size_t i = 0; i < tasks.size(); ++i) ended[i] = tasks[i]->wait_until(limit);
    } else {
        CompletionSet set;
        for (std::size_t i = 0; i < tasks.size(); ++i) set.add(*tasks[i], i);
        for (bool enough = false; !enough && set.wait(limit);) {
            for (const std::size_t i : set.ended()) {
                ended[i] = true;
                enough = enough || when == ReturnWhen::first_completed ||
                         (!tasks[i]->cancelled() && tasks[i]->failed());
            }
        }
    }
    WaitResult result;
    for (std::size_t i = 0; i < tasks.size(); ++i)
        (ended[i] ? result.done : result.not_done).push_back(i);
    return result;
}

CompletionSet::CompletionSet() : state_(std::make_unique<State>()) {}
CompletionSet::CompletionSet(CompletionSet&&) noexcept = default;
CompletionSet& CompletionSet::operator=(CompletionSet&&) noexcept = default;
CompletionSet::~CompletionSet() = default;

void CompletionSet::add(const TaskHandle& task, std::size_t number) {
    state_->add(task, number);
}

std::size_t CompletionSet::pending() const noexcept {
    return state_->pending();
}

bool CompletionSet::wait(Deadline limit, const std::atomic<bool>* interrupted) {
    return state_->wait(limit, interrupted);
}

std::span<const std::size_t> CompletionSet::ended() const noexcept {
    return state_->ended;
}

} // namespace prong::detail
