#include <prong/semaphore.hpp>

#include "os/fork_depth.hpp"
#include "sync/cell.hpp"
#include "sync/change_count.hpp"
#include "sync/member.hpp"
#include "sync/object.hpp"

#include <atomic>
#include <cstdint>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

// A permit with an owner is a word: free (0), or the member that has it. One compare-and-swap takes
// the permit and says who has it, and the word of a dead owner is taken by a compare-and-swap from
// exactly that owner. The number of free permits is counted when it is asked for, so that no death
// can make it wrong.

namespace prong {
namespace {

using sync::MemberId;
using sync::SemaphoreWords;
using Permits = std::span<std::atomic<MemberId>>;

std::string refusal(std::int64_t permits, const std::string& range) {
    return "prong: a semaphore takes " + range + " permits, not " + std::to_string(permits);
}

void require_positive(std::int64_t permits) {
    if (permits < 1) throw std::invalid_argument(refusal(permits, "back at least 1"));
}

/// Wakes as many threads as there are new permits.
void announce(os::FutexWord& changes, std::int64_t permits) noexcept {
    sync::announce(changes, permits < os::everyone ? static_cast<int>(permits) : os::everyone);
}

bool take_permit(SemaphoreWords& words) noexcept {
    std::uint64_t value = words.value.load(std::memory_order_relaxed);
    while (value != 0) {
        if (words.value.compare_exchange_weak(value, value - 1, std::memory_order_acquire,
                                              std::memory_order_relaxed))
            return true;
    }
    return false;
}

Permits permits_of(const sync::Cell& cell) {
    return sync::further_array<std::atomic<MemberId>>(cell, cell.semaphore.bound.load(),
                                                      BoundedSemaphore::most_permits);
}

bool take_permit(Permits permits, MemberId member) noexcept {
    for (std::atomic<MemberId>& permit : permits) {
        MemberId owner = 0;
        if (permit.load(std::memory_order_relaxed) == 0 &&
            permit.compare_exchange_strong(owner, member, std::memory_order_acquire))
            return true;
    }
    for (std::atomic<MemberId>& permit : permits) {
        MemberId owner = permit.load(std::memory_order_relaxed);
        if ((owner == 0 || !sync::lives(owner)) &&
            permit.compare_exchange_strong(owner, member, std::memory_order_acquire))
            return true;
    }
    return false;
}

std::int64_t count(Permits permits, MemberId owner) noexcept {
    std::int64_t found = 0;
    for (const std::atomic<MemberId>& permit : permits) found += permit.load() == owner ? 1 : 0;
    return found;
}

} // namespace

std::uint64_t Semaphore::further_bytes(std::int64_t permits) {
    if (permits < 0) throw std::invalid_argument(refusal(permits, "0 or more"));
    return 0;
}

void Semaphore::initialise(std::int64_t permits) const {
    object_.get().semaphore.value.store(static_cast<std::uint64_t>(permits));
}

bool Semaphore::acquire(detail::Deadline deadline) const {
    const sync::Pin pin;
    SemaphoreWords& words = object_.get().semaphore;
    return sync::wait_for_change(object_, object_.get().semaphore.changes, deadline,
                                 [&] { return take_permit(words); });
}

void Semaphore::acquire() const {
    static_cast<void>(acquire(detail::Deadline::never()));
}

bool Semaphore::try_acquire() const {
    const sync::Pin pin;
    return take_permit(object_.get().semaphore);
}

bool Semaphore::try_acquire_for(Timeout timeout) const {
    return acquire(detail::Deadline::after(timeout));
}

void Semaphore::release(std::int64_t permits) const {
    require_positive(permits);
    const sync::Pin pin;
    SemaphoreWords& words = object_.get().semaphore;
    words.value.fetch_add(static_cast<std::uint64_t>(permits), std::memory_order_release);
    announce(words.changes, permits);
}

std::int64_t Semaphore::value() const {
    return static_cast<std::int64_t>(object_.get().semaphore.value.load());
}

std::uint64_t BoundedSemaphore::further_bytes(std::int64_t permits) {
    if (permits < 1 || permits > most_permits)
        throw std::invalid_argument(refusal(permits, "1 to " + std::to_string(most_permits)));
    return static_cast<std::uint64_t>(permits) * sizeof(std::atomic<MemberId>);
}

void BoundedSemaphore::initialise(std::int64_t permits) const {
    object_.get().semaphore.bound.store(static_cast<std::uint32_t>(permits));
}

bool BoundedSemaphore::acquire(detail::Deadline deadline) const {
    const sync::Pin pin;
    const Permits permits = permits_of(object_.get());
    const MemberId member = sync::this_member();
    return sync::wait_for_change(object_, object_.get().semaphore.changes, deadline,
                                 [&] { return take_permit(permits, member); });
}

void BoundedSemaphore::acquire() const {
    static_cast<void>(acquire(detail::Deadline::never()));
}

bool BoundedSemaphore::try_acquire() const {
    const sync::Pin pin;
    return take_permit(permits_of(object_.get()), sync::this_member());
}

bool BoundedSemaphore::try_acquire_for(Timeout timeout) const {
    return acquire(detail::Deadline::after(timeout));
}

void BoundedSemaphore::release(std::int64_t permits) const {
    require_positive(permits);
    const sync::Pin pin;
    sync::Cell& cell = object_.get();
    const Permits words = permits_of(cell);
    const MemberId member = sync::this_member();
    if (const std::int64_t held = count(words, member); held < permits)
        throw std::logic_error("prong::BoundedSemaphore: release of " + std::to_string(permits) +
                               " permits by a process that has " + std::to_string(held));
    std::int64_t left = permits;
    for (std::atomic<MemberId>& permit : words) {
        MemberId owner = member;
        if (left != 0 && permit.compare_exchange_strong(owner, 0, std::memory_order_release))
            --left;
    }
    announce(cell.semaphore.changes, permits - left);
}

std::int64_t BoundedSemaphore::value() const {
    const sync::Pin pin;
    std::int64_t free = 0;
    for (const std::atomic<MemberId>& permit : permits_of(object_.get())) {
        const MemberId owner = permit.load();
        free += owner == 0 || !sync::lives(owner) ? 1 : 0;
    }
    return free;
}

Permit BoundedSemaphore::permit() const {
    return Permit(*this);
}

Permit::Permit(const BoundedSemaphore& semaphore)
    : semaphore_(semaphore), depth_(os::fork_depth()) {
    semaphore.acquire();
}

Permit::Permit(Permit&& other) noexcept
    : semaphore_(std::exchange(other.semaphore_, std::nullopt)), depth_(other.depth_) {}

Permit& Permit::operator=(Permit&& other) noexcept {
    if (this == &other) return *this;
    give_back();
    semaphore_ = std::exchange(other.semaphore_, std::nullopt);
    depth_ = other.depth_;
    return *this;
}

Permit::~Permit() {
    give_back();
}

void Permit::give_back() noexcept {
    if (!semaphore_ || depth_ != os::fork_depth()) return;
    try {
        semaphore_->release();
    } catch (const std::exception&) { // the semaphore has ended, or the permit was released
    }
    semaphore_.reset();
}

} // namespace prong
