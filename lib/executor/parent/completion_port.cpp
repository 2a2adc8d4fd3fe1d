#include <prong/detail/completion_port.hpp>

#include "executor/parent/core.hpp"
#include "executor/parent/pending_tasks.hpp"
#include "os/wake_pipe.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace prong::detail {

using executor::CheckSchedule;
using executor::PendingTasks;
using executor::PoolCore;

struct AwaitedTask::Await {
    TaskKey task;
    AwaitedTask* awaited; ///< null: it was removed
    std::unique_ptr<Await> next = nullptr;
};

class CompletionPort::State {
public:
    explicit State(PoolCore& core) : core_(core) {}

    [[nodiscard]] int fd() const noexcept { return core_.state().loops.port(); }
    bool add(const TaskKey& task, AwaitedTask& awaited, bool is_polled);
    bool remove(AwaitedTask& awaited) noexcept;
    bool poll(bool begins_anew) noexcept;
    enum class Look : unsigned char { poll, drain, check };
    void drain(Look look) noexcept;

private:
    using Await = AwaitedTask::Await;

    /// What `PendingTasks` has of an await.
    class Item {
    public:
        explicit Item(std::unique_ptr<Await> await) : await_(std::move(await)) {}
        [[nodiscard]] bool is_wanted() const {
            return await_ != nullptr && await_->awaited != nullptr;
        }
        [[nodiscard]] const TaskKey& key() const { return await_->task; }
        std::unique_ptr<Await> take() { return std::move(await_); }

    private:
        std::unique_ptr<Await> await_;
    };

    void end_awaits(Look look) noexcept;
    std::unique_ptr<Await> take_ended(Look look);
    Await* leave(AwaitedTask& awaited);

    PoolCore& core_;
    std::mutex mutex_; ///< guards all that follows, and `AwaitedTask::await`
    PendingTasks<Item> pending_;
    std::size_t wanted_ = 0;              ///< of those that are pending
    std::atomic<std::uint32_t> seen_ = 0; ///< `completions` at the last look
    CheckSchedule schedule_;
};

bool CompletionPort::State::add(const TaskKey& task, AwaitedTask& awaited, bool is_polled) {
    const ring::Status before = core_.has_ended() ? core_.resolve(task) : core_.update(task);
    if (is_final(before.state)) return false;
    {
        const std::lock_guard lock(mutex_);
        auto await = std::make_unique<Await>(Await{.task = task, .awaited = &awaited});
        Await* const place = await.get();
        pending_.add(core_, Item(std::move(await)));
        awaited.await = place;
        ++wanted_;
        if (!is_polled) core_.state().loops.arm();
    }
    const ring::Status now = core_.watch(task.index, ring::Status::watched_with_others);
    return !is_final(now.state) || !remove(awaited);
}

bool CompletionPort::State::remove(AwaitedTask& awaited) noexcept {
    if (core_.is_copy()) return true; // nothing calls `ended` there
    const std::lock_guard lock(mutex_);
    if (awaited.await == nullptr) return false;
    leave(awaited)->awaited = nullptr;
    // As many are left as are looked at, so a removal costs the same however many there are.
    if (wanted_ < pending_.size() / 2) pending_.remove_unwanted();
    return true;
}

CompletionPort::State::Await* CompletionPort::State::leave(AwaitedTask& awaited) {
    --wanted_;
    return std::exchange(awaited.await, nullptr);
}

bool CompletionPort::State::poll(bool begins_anew) noexcept {
    thread_local ring::Spinner spinner;
    if (core_.is_copy()) return false;
    if (begins_anew) spinner.found();
    if (!core_.spin(spinner)) return false;
    if (core_.completions() != seen_.load()) end_awaits(Look::poll);
    return true;
}

void CompletionPort::State::drain(Look look) noexcept {
    if (core_.is_copy()) return; // the pool's memory is not there
    os::clear_wakes(fd());
    end_awaits(look);
}

/// Calls `ended` of all whose tasks have ended.
void CompletionPort::State::end_awaits(Look look) noexcept {
    std::unique_ptr<Await> ended = take_ended(look);
    // Only local objects from here on: a task's owner may end the pool.
    while (ended) {
        const std::unique_ptr<Await> await = std::exchange(ended, std::move(ended->next));
        await->awaited->ended();
    }
}

/// Returns a list of the awaits whose tasks have ended.
std::unique_ptr<CompletionPort::State::Await> CompletionPort::State::take_ended(Look look) {
    const bool is_check = look == Look::check;
    std::unique_ptr<Await> first;
    std::unique_ptr<Await>* last = &first;
    const auto collect = [&](Item& item) {
        *last = item.take();
        leave(*(*last)->awaited);
        last = &(*last)->next;
    };
    if (is_check) core_.rewake_workers();
    const std::lock_guard lock(mutex_);
    if (wanted_ == 0) return first;
    // Sequentially consistent with the end of a task: either this finds the end, or that finds the
    // port armed.
    if (look != Look::poll) core_.state().loops.arm();
    seen_ = core_.completions();
    try {
        if (pending_.check(core_, is_check, collect)) schedule_.hasten();
        if (CheckSchedule::Clock::now() >= schedule_.next())
            schedule_.run([&] { pending_.check_all(core_, collect); });
        if (is_check) pending_.mark([&](const Item& item) { core_.notify_if_due(item.key()); });
    } catch (const std::exception&) { // such as a lack of memory: the next check repeats it
    }
    return first;
}

CompletionPort::CompletionPort(PoolCore& core) : state_(std::make_unique<State>(core)) {}
CompletionPort::~CompletionPort() = default;

int CompletionPort::fd() const noexcept {
    return state_->fd();
}

bool CompletionPort::add(const TaskHandle& task, AwaitedTask& awaited, bool is_polled) {
    return state_->add(task.key(), awaited, is_polled);
}

bool CompletionPort::remove(AwaitedTask& awaited) noexcept {
    return state_->remove(awaited);
}

bool CompletionPort::poll(bool begins_anew) noexcept {
    return state_->poll(begins_anew);
}

void CompletionPort::drain() noexcept {
    state_->drain(State::Look::drain);
}

void CompletionPort::check() noexcept {
    state_->drain(State::Look::check);
}

CompletionPort& CompletionPort::of(const TaskHandle& task) {
    return task.core().port();
}

CompletionPort& CompletionPort::of(executor::PoolCore& pool) {
    return pool.port();
}

} // namespace prong::detail
