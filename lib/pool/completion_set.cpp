#include <prong/detail/completion_set.hpp>

#include "pool/pool_core.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <functional>
#include <list>
#include <utility>
#include <vector>

namespace prong::detail {
namespace {

using Clock = std::chrono::steady_clock;
using pool::PoolCore;

/// How often at least all tasks are looked at: for deadlines that pass in the queue, and tasks that
/// nobody will end.
constexpr Clock::duration look_interval = std::chrono::milliseconds(16);

/// A look at all of them takes at most this part of the time.
constexpr int look_share = 16;

struct Item {
    const TaskHandle* task;
    std::size_t number;
};

/// One that no worker has got to, by its place in the queue.
struct QueuedItem {
    ring::Position position;
    Item item;

    bool operator>(const QueuedItem& other) const { return position > other.position; }
};

/// The tasks of one pool. A worker ends only what the head of its queue has passed, and of those no
/// more are pending than there are workers and retries.
struct Part {
    explicit Part(PoolCore& core) : pool(core), departures(core.departures()) {}

    [[nodiscard]] std::size_t pending() const {
        std::size_t count = passed.size();
        for (const auto& lane : queued) count += lane.size();
        return count;
    }

    PoolReference pool;
    std::array<std::vector<QueuedItem>, ring::lane_count> queued; ///< heaps, the next one first
    std::vector<Item> passed;
    std::uint64_t departures; ///< when all were looked at
};

} // namespace

class CompletionSet::State {
public:
    void add(const TaskHandle& task, std::size_t number);
    bool wait(TimePoint limit);
    [[nodiscard]] std::size_t pending() const;

    std::vector<std::size_t> ended;

private:
    Part& part_of(PoolCore& core);
    void look(Part& part);
    void look_at_all();
    void look_at_all_of(Part& part);
    /// Moves those that `has_ended` to `ended`.
    template <typename Items, typename HasEnded>
    void take(Items& items, HasEnded has_ended);

    static const Item& item_of(const Item& item) { return item; }
    static const Item& item_of(const QueuedItem& queued) { return queued.item; }

    std::list<Part> parts_;
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
    PoolCore& core = task.core();
    Part& part = part_of(core);
    const TaskKey& key = task.key_;
    const Item item{.task = &task, .number = number};
    core.status(key); // expires it
    const ring::Status watched = core.watch(key.index, ring::Status::watched_with_others);
    const ring::Ring& ring = core.state().lanes[ring::Lane{key.lane}];
    const ring::Position position = ring.position_of(key.generation);
    if (watched.state != ring::TaskState::queued || ring.has_passed(position)) {
        part.passed.push_back(item);
        return;
    }
    auto& queued = part.queued[key.lane];
    queued.push_back({.position = position, .item = item});
    std::ranges::push_heap(queued, std::greater());
}

std::size_t CompletionSet::State::pending() const {
    std::size_t count = 0;
    for (const Part& part : parts_) count += part.pending();
    return count;
}

bool CompletionSet::State::wait(TimePoint limit) {
    ended.clear();
    std::vector<PoolCore*> cores;
    std::vector<std::uint32_t> seen;
    for (;;) {
        cores.clear();
        seen.clear();
        for (Part& part : parts_) {
            if (part.pending() == 0) continue;
            part.pool.core().require_own_process();
            cores.push_back(&part.pool.core());
            seen.push_back(cores.back()->completions());
            look(part);
        }
        const Clock::time_point now = Clock::now();
        if (ended.empty() && (now >= limit || now >= next_look_)) look_at_all();
        if (!ended.empty() || cores.empty() || now >= limit) return !ended.empty();
        PoolCore::sleep_until_completion(cores, seen, std::min(limit, next_look_));
    }
}

/// Looks at what a worker may have ended, and whether it is time to look at all.
void CompletionSet::State::look(Part& part) {
    PoolCore& core = part.pool.core();
    if (core.has_ended()) return look_at_all_of(part);
    for (std::size_t lane = 0; lane < ring::lane_count; ++lane) {
        auto& queued = part.queued[lane];
        const ring::Ring& ring = core.state().lanes[static_cast<ring::Lane>(lane)];
        while (!queued.empty() && ring.has_passed(queued.front().position)) {
            std::ranges::pop_heap(queued, std::greater());
            part.passed.push_back(queued.back().item);
            queued.pop_back();
        }
    }
    take(part.passed, &TaskHandle::has_ended);
    if (core.departures() != part.departures)
        next_look_ = std::min(next_look_, last_look_ + look_share * last_cost_);
}

void CompletionSet::State::look_at_all() {
    const Clock::time_point start = Clock::now();
    for (Part& part : parts_) look_at_all_of(part);
    last_look_ = Clock::now();
    last_cost_ = last_look_ - start;
    next_look_ = last_look_ + std::max(look_interval, look_share * last_cost_);
}

void CompletionSet::State::look_at_all_of(Part& part) {
    part.departures = part.pool.core().departures(); // before, lest one be missed
    take(part.passed, &TaskHandle::done);
    for (auto& queued : part.queued) {
        take(queued, &TaskHandle::done);
        std::ranges::make_heap(queued, std::greater());
    }
}

template <typename Items, typename HasEnded>
void CompletionSet::State::take(Items& items, HasEnded has_ended) {
    std::erase_if(items, [&](const auto& element) {
        const Item& item = item_of(element);
        if (!std::invoke(has_ended, item.task)) return false;
        ended.push_back(item.number);
        return true;
    });
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

bool CompletionSet::wait(TimePoint limit) {
    return state_->wait(limit);
}

std::span<const std::size_t> CompletionSet::ended() const noexcept {
    return state_->ended;
}

} // namespace prong::detail
