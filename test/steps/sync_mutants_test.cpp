// The harness of sync_test.cpp must find what is wrong with synchronisation objects that are not
// prong's: each is written as an engineer may write it who forgets one thing.

#include "steps/sync_trials.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>

using namespace prong::test;
using prong::Acquired;
using prong::detail::Deadline;
using prong::sync::MemberId;

namespace {

using Word = std::atomic<std::uint32_t>;

/// A lock that says who has it after it was taken.
class TakeThenName {
public:
    void lock() const { static_cast<void>(acquire_for(std::nullopt)); }
    void unlock() const {
        words_->holder = 0;
        words_->taken = 0;
        prong::sync::wake_all(words_->taken);
    }
    void release() const { unlock(); }
    [[nodiscard]] Acquired acquire_for(prong::Timeout timeout) const {
        const Deadline deadline = Deadline::after(timeout);
        const MemberId member = prong::sync::this_member();
        for (;;) {
            std::uint32_t expected = 0;
            if (words_->taken.compare_exchange_strong(expected, 1)) {
                words_->holder = member;
                return Acquired(true);
            }
            MemberId holder = words_->holder;
            if (holder != 0 && !prong::sync::lives(holder) &&
                words_->holder.compare_exchange_strong(holder, member)) {
                words_->abandoned = true;
                return Acquired(prong::sync::identify(holder));
            }
            if (deadline.passed()) return Acquired(false);
            prong::sync::sleep_on(words_->taken, 1, deadline);
        }
    }
    [[nodiscard]] bool abandoned() const { return words_->abandoned; }
    void mark_consistent() const { words_->abandoned = false; }

private:
    struct Words {
        Word taken;
        std::atomic<MemberId> holder;
        std::atomic<bool> abandoned;
    };
    std::shared_ptr<Shared<Words>> memory_ = std::make_shared<Shared<Words>>();
    Words* words_ = memory_->get();
};

/// A semaphore that counts a permit first, then says who has it.
class CountThenName {
public:
    explicit CountThenName(int permits) { words_->free = static_cast<std::uint32_t>(permits); }

    void acquire() const {
        while (!try_acquire()) prong::sync::sleep_on(words_->free, 0, Deadline::never());
    }
    [[nodiscard]] bool try_acquire() const {
        take_back();
        std::uint32_t free = words_->free;
        while (free != 0 && !words_->free.compare_exchange_weak(free, free - 1)) {
        }
        if (free == 0) return false;
        for (std::atomic<MemberId>& owner : words_->owners) {
            MemberId nobody = 0;
            if (owner.compare_exchange_strong(nobody, prong::sync::this_member())) break;
        }
        return true;
    }
    void release(int permits = 1) const {
        for (std::atomic<MemberId>& owner : words_->owners) {
            MemberId self = prong::sync::this_member();
            if (permits == 0 || !owner.compare_exchange_strong(self, 0)) continue;
            words_->free.fetch_add(1);
            --permits;
        }
        prong::sync::wake_all(words_->free);
    }
    [[nodiscard]] int value() const {
        take_back();
        return static_cast<int>(words_->free);
    }

private:
    void take_back() const {
        for (std::atomic<MemberId>& owner : words_->owners) {
            MemberId dead = owner;
            if (dead != 0 && !prong::sync::lives(dead) && owner.compare_exchange_strong(dead, 0))
                words_->free.fetch_add(1);
        }
    }

    struct Words {
        Word free;
        std::atomic<MemberId> owners[8];
    };
    Shared<Words> words_;
};

/// A condition whose waits do not end when somebody dies.
class DeathIsNoNotification {
public:
    [[nodiscard]] prong::Lock& lock() const { return lock_; }
    template <typename Predicate>
    void wait(std::unique_lock<prong::Lock>& guard, Predicate predicate) const {
        while (!predicate()) {
            const std::uint32_t seen = *count_;
            guard.unlock();
            while (*count_ == seen) prong::sync::sleep_on(*count_, seen, Deadline::never());
            guard.lock();
        }
    }
    void notify_one() const { notify_all(); }
    void notify_all() const {
        count_->fetch_add(1);
        prong::sync::wake_all(*count_);
    }

private:
    mutable prong::Lock lock_;
    Shared<Word> count_;
};

/// A barrier for two whose phase ends before its action has run.
class EndThenAct {
public:
    explicit EndThenAct(int, std::function<void()> action = {}) : action_(std::move(action)) {}

    int wait() const { return wait_for(std::nullopt); }
    int wait_for(prong::Timeout timeout) const {
        const Deadline deadline = Deadline::after(timeout);
        const MemberId member = prong::sync::this_member();
        const std::uint32_t phase = words_->phase;
        int index = 0;
        for (MemberId nobody = 0; !words_->members[index].compare_exchange_strong(nobody, member);
             nobody = 0) {
            index = 1 - index;
        }
        while (words_->phase == phase) {
            const MemberId other = words_->members[1 - index];
            if (other != 0) {
                words_->members[0] = 0;
                words_->members[1] = 0;
                words_->former = other;
                words_->phase.fetch_add(2);
                prong::sync::wake_all(words_->phase);
                action_();
                return index;
            }
            const MemberId former = words_->former == member ? 0U : words_->former.load();
            if (former != 0 && !prong::sync::lives(former)) {
                words_->is_broken = true;
                throw prong::BrokenBarrier("broken", prong::sync::identify(former));
            }
            if (deadline.passed()) throw prong::BrokenBarrier("timeout", {});
            prong::sync::sleep_on(words_->phase, phase, deadline);
        }
        return index;
    }
    void reset() const {
        words_->members[0] = 0;
        words_->members[1] = 0;
        words_->former = 0;
        words_->is_broken = false;
    }
    [[nodiscard]] bool broken() const { return words_->is_broken; }
    [[nodiscard]] int n_waiting() const {
        return (words_->members[0] != 0 ? 1 : 0) + (words_->members[1] != 0 ? 1 : 0);
    }

private:
    struct Words {
        Word phase;
        std::atomic<MemberId> members[2];
        std::atomic<MemberId> former;
        std::atomic<bool> is_broken;
    };
    std::function<void()> action_;
    Shared<Words> words_;
};

} // namespace

TEST_CASE("a lock that names its holder too late is caught") {
    if (skipped()) return;
    CHECK(violations<Acquire<TakeThenName>>("a lock that is taken, then named", {.few = 1000}) > 0);
}

TEST_CASE("a bounded semaphore that counts before it names is caught") {
    if (skipped()) return;
    CHECK(violations<BoundedAcquire<CountThenName>>("a permit that is counted, then named") > 0);
}

TEST_CASE("a condition for which a death is no notification is caught") {
    if (skipped()) return;
    CHECK(violations<Notify<DeathIsNoNotification, true>>("a death is no notification") > 0);
}

TEST_CASE("a barrier that ends a phase before its action is caught") {
    if (skipped()) return;
    CHECK(violations<ArriveLast<EndThenAct, true>>("a phase ends before its action") > 0);
}
