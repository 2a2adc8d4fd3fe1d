#include "pool/pool_core.hpp"

#include "os/child.hpp"
#include "os/process.hpp"
#include "sync/spinner.hpp"

#include <prong/error.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <ctime>
#include <stdexcept>
#include <system_error>

namespace prong::pool {
namespace {

using Nanoseconds = std::chrono::nanoseconds;

/// Waits are cut into slices, between which the waiter looks whether those it waits for still live:
/// short ones first, since a wake may have gone to a worker that was stopped.
constexpr Nanoseconds first_slice = std::chrono::milliseconds(2);
constexpr Nanoseconds longest_slice = std::chrono::milliseconds(64);

/// How often those who only poll look for the supervisor's death.
constexpr Nanoseconds look_interval = std::chrono::milliseconds(10);

std::int64_t coarse_now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

} // namespace

PoolCore::PoolCore(Setup setup)
    : state_(SharedState::create(setup.sizes)), records_(state_), hooks_(std::move(setup.hooks)),
      max_pending_(std::min(setup.max_pending, state_.ring.capacity())),
      fork_depth_(os::fork_depth()) {}

PoolCore* PoolCore::create(Setup setup) {
    return new PoolCore(std::move(setup));
}

void PoolCore::start() {
    supervisor_pidfd_ = fork_base_.start_supervisor(state_, hooks_);
    state_.region.keep_from_children(); // the user's forks get no copy of the pool
}

bool PoolCore::is_copy() const noexcept {
    return fork_depth_ != os::fork_depth();
}

void PoolCore::require_own_process() const {
    if (!is_copy()) return;
    throw std::logic_error("this process pool belongs to the process that made it; here, in a "
                           "process forked from that one (a worker, say), it cannot be used: make "
                           "a pool of its own");
}

void PoolCore::require_usable() {
    if (!state_.control().broken.load(std::memory_order_acquire) &&
        !ended_.load(std::memory_order_acquire)) {
        return;
    }
    const std::lock_guard lock(supervisor_mutex_);
    if (shut_down_) return; // the queue's end says so
    throw BrokenProcessPool(broken_cause());
}

std::string PoolCore::broken_cause() {
    std::string cause = "the process pool is broken: ";
    if (state_.control().broken.load(std::memory_order_acquire)) {
        cause += state_.control().cause.get();
    } else {
        cause += "its supervisor process has ended before its time";
    }
    return cause + "; make a new pool";
}

void PoolCore::leave() noexcept {
    if (records_.close()) delete this;
}

void PoolCore::let_go() noexcept {
    if (records_.let_go()) delete this;
}

void PoolCore::release(const Holding& holding) noexcept {
    if (records_.release(holding)) delete this;
}

void PoolCore::abandon(const Holding& holding) noexcept {
    if (records_.abandon(holding)) delete this;
}

// Submitting

std::uint32_t PoolCore::acquire_record() {
    require_own_process();
    require_usable();
    const auto index = records_.acquire();
    if (!index) {
        throw LimitExceeded(LimitKind::pending_tasks,
                            "all " + std::to_string(state_.ring.record_count()) +
                                " task records of the pool are held by futures; take results (or "
                                "drop futures) before submitting more");
    }
    state_.ring.record(*index).status.store(ring::Status{}.pack(), std::memory_order_relaxed);
    return *index;
}

std::optional<detail::TaskHandle> PoolCore::submit(std::uint32_t index,
                                                   const detail::TaskType& type,
                                                   std::uint64_t arguments, std::uint64_t length,
                                                   bool may_wait) {
    ring::Record& record = state_.ring.record(index);
    record.task_type = reinterpret_cast<std::uint64_t>(&type);
    record.arguments_offset = arguments;
    record.arguments_length = length;
    ring::Position position = 0;
    for (;;) {
        const ring::Ring::Refusal refusal = state_.ring.reserve(max_pending_, position);
        if (refusal == ring::Ring::Refusal::none) break;
        if (refusal == ring::Ring::Refusal::closed) {
            throw PoolShutdown("the pool has been shut down and accepts no more tasks");
        }
        if (!wait_for_room(may_wait)) return std::nullopt;
    }
    state_.ring.publish(position, index);
    state_.parking.work_arrived();
    if (position % 1024 == 0) state_.retire_entries();

    detail::TaskHandle handle;
    handle.core_ = this;
    handle.type_ = &type;
    handle.arguments_ = arguments;
    handle.index_ = index;
    handle.generation_ = ring::generation_of(position);
    return handle;
}

bool PoolCore::wait_for_room(bool may_wait) {
    state_.retire_entries();
    if (!may_wait) return false;
    ring::Cursor& cursor = state_.ring.cursor();
    cursor.waiting_for_room.fetch_add(1);
    const std::uint32_t seen = cursor.room.load();
    const ring::Position queued = state_.ring.tail() - cursor.head.load();
    if (queued >= max_pending_) {
        os::futex_wait(cursor.room, seen, first_slice);
        nudge();
    }
    cursor.waiting_for_room.fetch_sub(1);
    if (has_ended()) require_usable();
    return true;
}

void PoolCore::nudge() noexcept {
    if (state_.ring.has_work()) state_.parking.wake_parked();
}

// Waiting

ring::Status PoolCore::status(std::uint32_t index) const noexcept {
    return ring::Status::unpack(state_.ring.record(index).status.load(std::memory_order_acquire));
}

bool PoolCore::cancel(std::uint32_t index, std::uint32_t generation) noexcept {
    return state_.ring.cancel(index, generation).state == ring::TaskState::cancelled;
}

ring::Status PoolCore::settle(std::uint32_t index, std::uint32_t generation) noexcept {
    return state_.ring.give_up(index, generation);
}

bool PoolCore::wait(std::uint32_t index, std::uint32_t generation, detail::TimePoint limit) {
    const ring::Record& record = state_.ring.record(index);
    thread_local sync::Spinner spinner;
    Nanoseconds slice = first_slice;
    for (;;) {
        const ring::Status now = status(index);
        if (now.generation != generation) { // a worker has gone mad
            settle(index, generation);
            return true;
        }
        if (is_final(now.state)) {
            spinner.found();
            return true;
        }
        if (base::Deadline::at(limit).passed()) {
            if (!has_ended()) return false;
            settle(index, generation);
            continue;
        }
        if (spinner.spin(state_.parking.searching())) continue;

        const ring::Status watched = state_.ring.watch(index, ring::Status::watched);
        if (is_final(watched.state)) continue;
        os::futex_wait(record.status, static_cast<std::uint32_t>(watched.pack()),
                       base::Deadline::at(limit).left(slice));
        if (is_final(status(index).state)) continue;
        if (has_ended() && !is_final(status(index).state)) settle(index, generation);
        nudge();
        slice = std::min(2 * slice, longest_slice);
    }
}

void PoolCore::sleep_until_completion(std::span<PoolCore* const> pools,
                                      std::span<const std::uint32_t> seen,
                                      detail::TimePoint limit) {
    std::vector<os::FutexWaiter> words;
    for (std::size_t i = 0; i < pools.size(); ++i) {
        Control& control = pools[i]->state_.control();
        // Sequentially consistent with announce: either that sees this count, or this its change.
        control.waiting_for_completions.fetch_add(1);
        words.push_back({.word = &control.completions, .expected = seen[i]});
    }
    const Nanoseconds slice = base::Deadline::at(limit).left(longest_slice / 4);
    if (words.size() == 1)
        os::futex_wait(*words[0].word, words[0].expected, slice);
    else
        os::futex_wait_any(words, slice);
    for (PoolCore* const pool : pools) {
        pool->state_.control().waiting_for_completions.fetch_sub(1);
        pool->nudge();
    }
}

bool PoolCore::has_ended() {
    if (ended_.load(std::memory_order_acquire)) return true;
    if (state_.control().broken.load(std::memory_order_acquire)) return true;
    if (!supervisor_pidfd_) return false; // workers are threads of a test
    const std::int64_t now = coarse_now_ns();
    std::int64_t next = next_look_ns_.load(std::memory_order_relaxed);
    if (now < next || !next_look_ns_.compare_exchange_strong(next, now + look_interval.count(),
                                                             std::memory_order_relaxed)) {
        return false;
    }
    if (!os::wait_readable(supervisor_pidfd_.get(), base::Deadline::now())) return false;
    reap_supervisor();
    return true;
}

// Ending

void PoolCore::reap_supervisor() {
    const std::lock_guard lock(supervisor_mutex_);
    if (!ended_.load(std::memory_order_relaxed)) os::reap(supervisor_pidfd_);
    ended_.store(true, std::memory_order_release);
}

void PoolCore::give_orders(Orders orders) noexcept {
    std::atomic<Orders>& word = state_.control().orders;
    Orders now = word.load(std::memory_order_relaxed);
    while (now < orders && !word.compare_exchange_weak(now, orders)) {
    }
    state_.parking.wake_all();
    if (!supervisor_pidfd_ || ended_.load(std::memory_order_acquire)) return;
    os::send_signal(supervisor_pidfd_, SIGUSR1);
}

void PoolCore::shutdown(bool wait, bool cancel_queued) {
    {
        const std::lock_guard lock(supervisor_mutex_);
        shut_down_ = true;
    }
    state_.ring.close();
    if (cancel_queued) {
        state_.ring.cancel_all([this](const ring::Record& record, std::uint8_t waiters) {
            state_.announce(record, waiters);
        });
    }
    give_orders(Orders::drain);
    if (!wait || !supervisor_pidfd_) return;
    os::wait_readable(supervisor_pidfd_.get(), base::Deadline::never());
    reap_supervisor();
}

void PoolCore::end_workers(Orders orders) {
    shutdown(false, true);
    give_orders(orders);
}

} // namespace prong::pool
