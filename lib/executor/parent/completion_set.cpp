#include <prong/detail/completion_set.hpp>
#include <prong/detail/pool_reference.hpp>

#include "executor/parent/pending_tasks.hpp"

#include <prong/wait.hpp>

#include <algorithm>
#include <chrono>
#include <list>
#include <vector>

namespace prong::detail {
namespace {

using Clock = executor::CheckSchedule::Clock;
using executor::PoolCore;

/// With this many queued tasks no worker idles if an end is detected late. A waiting thread then
/// spins only if tasks end so fast that a sleep for each would cost more.
constexpr std::size_t many_queued = 64;
constexpr Clock::duration short_gap = std::chrono::microseconds(3);

/// A task, and its number in the set.
class Item {
public:
    Item(const TaskHandle& task, const TaskKey& key, std::size_t number)
        : task_(&task), key_(key), number_(number) {}
    [[nodiscard]] bool is_wanted() const { return task_->valid(); }
    [[nodiscard]] const TaskKey& key() const { return key_; }
    [[nodiscard]] std::size_t number() const { return number_; }

private:
    const TaskHandle* task_;
    TaskKey key_;
    std::size_t number_;
};

/// The tasks of one pool.
struct Part {
    explicit Part(PoolCore& core) : pool(core) {}

    PoolReference pool;
    executor::PendingTasks<Item> tasks;
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
    void look(Part& part, bool is_audit);
    static bool watch(Part& part);
    void look_at_all();
    void note_gap(Clock::time_point now);
    auto note_ended() {
        return [this](const Item& item) { ended.push_back(item.number()); };
    }

    std::list<Part> parts_;
    Part* last_part_ = nullptr;
    // Of the present round of `wait`; kept so that no memory is allocated for each.
    std::vector<PoolCore*> cores_;
    std::vector<std::uint32_t> seen_;
    executor::CheckSchedule schedule_;
    Clock::time_point next_audit_ = schedule_.next();
    Clock::time_point last_end_ = Clock::now();
    Clock::duration gap_{}; ///< between ends: a moving average
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
    last_part_->tasks.add(last_part_->pool.core(), {task, task.key(), number});
}

std::size_t CompletionSet::State::pending() const {
    std::size_t count = 0;
    for (const Part& part : parts_) count += part.tasks.size();
    return count;
}

bool CompletionSet::State::wait(Deadline limit, const std::atomic<bool>* interrupted) {
    ended.clear();
    for (;;) {
        cores_.clear();
        seen_.clear();
        std::size_t queued = 0;
        const Clock::time_point now = Clock::now();
        const bool is_audit = now >= next_audit_;
        if (is_audit) next_audit_ = now + executor::CheckSchedule::interval;
        bool has_news = false;
        for (Part& part : parts_) {
            if (part.tasks.size() == 0) continue;
            part.pool.core().require_own_process();
            cores_.push_back(&part.pool.core());
            seen_.push_back(cores_.back()->completions());
            look(part, is_audit);
            queued += part.tasks.queued();
            if (ended.empty()) has_news = watch(part) || part.tasks.size() == 0 || has_news;
        }
        const bool is_late = Deadline::at(now) >= limit;
        if (ended.empty() && (is_late || now >= schedule_.next())) look_at_all();
        const bool is_interrupted = interrupted != nullptr && interrupted->load();
        if (!ended.empty() || cores_.empty() || is_late || is_interrupted) {
            note_gap(now);
            return !ended.empty();
        }
        if (has_news) continue;
        const bool may_spin = queued < many_queued || gap_ < short_gap;
        PoolCore::sleep_until_completion(cores_, seen_, may_spin,
                                         std::min(limit, Deadline::at(schedule_.next())));
    }
}

void CompletionSet::State::note_gap(Clock::time_point now) {
    if (ended.empty()) return;
    gap_ += ((now - last_end_) / static_cast<std::int64_t>(ended.size()) - gap_) / 8;
    last_end_ = now;
}

void CompletionSet::State::look(Part& part, bool is_audit) {
    if (part.tasks.check(part.pool.core(), is_audit, note_ended())) schedule_.hasten();
}

/// Marks each task as watched. Returns whether one has ended already.
bool CompletionSet::State::watch(Part& part) {
    bool has_ended = false;
    part.tasks.mark([&](const Item& item) {
        if (!item.is_wanted()) return;
        const ring::Status now =
            part.pool.core().watch(item.key().index, ring::Status::watched_with_others);
        has_ended = has_ended || is_final(now.state);
    });
    return has_ended;
}

void CompletionSet::State::look_at_all() {
    schedule_.run([this] {
        for (Part& part : parts_) part.tasks.check_all(part.pool.core(), note_ended());
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
