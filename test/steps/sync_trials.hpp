#pragma once

#include "shm/family_memory.hpp"
#include "steps/sync_stage.hpp"

#include <prong/barrier.hpp>
#include <prong/condition.hpp>
#include <prong/event.hpp>
#include <prong/lock.hpp>
#include <prong/process.hpp>
#include <prong/semaphore.hpp>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

/// \file
/// The trials of synchronisation objects: an operation each, in which a victim is killed, and what
/// must hold afterwards. Templates, so that mutants can be tried as well.

namespace prong::test {

// Locks.

/// A process that waits for a lock, is inside for a moment, and reports.
template <typename Lock>
class LockWaiter {
public:
    LockWaiter(const Lock& lock, Section& section)
        : companion_([&, this] {
              const Acquired acquired = lock.acquire_for(patience);
              if (!acquired) throw std::runtime_error("the lock is never free");
              section.enter(acquired.previous_died());
              if (acquired.previous_died()) {
                  report_->who = acquired.who().pid;
                  lock.mark_consistent();
              }
              section.leave();
              lock.release();
          }) {}

    void await_sleep() const { companion_.await_sleep(); }
    /// It must get the lock, and be told of no other death.
    void check(Told told, std::initializer_list<pid_t> dead, Invariants& invariants) {
        invariants.require(companion_.ends(), "one that waits for the lock does not get it");
        const int who = report_->who;
        if (told == Told::never || who != 0)
            invariants.require(told != Told::never ? std::ranges::count(dead, who) != 0 : who == 0,
                               "one that waits is told of another death");
        if (told == Told::certainly)
            invariants.require(who != 0, "one that waits is not told of the death");
    }

private:
    struct Report {
        std::atomic<int> who{0};
    };
    Shared<Report> report_;
    Companion companion_;
};

template <typename Lock>
class LockTrial : public SyncTrial {
protected:
    void enter() { section_.enter(lock_.abandoned()); }

    Lock lock_;
    Section section_;
};

/// Killed while it acquires a free lock.
template <typename Lock>
class Acquire : public LockTrial<Lock> {
    void act() override {
        this->lock_.lock();
        this->enter();
    }
    void check(Fate fate, Invariants& invariants) override {
        check_recovers(this->lock_, this->section_, fate.returned ? Told::certainly : Told::perhaps,
                       {fate.pid}, invariants);
    }
};

/// Killed while it releases a lock that another process waits for.
template <typename Lock>
class Release : public LockTrial<Lock> {
    void prepare() override {
        this->lock_.lock();
        this->enter();
        this->section_.leave();
    }
    void begin() override {
        waiter_.emplace(this->lock_, this->section_);
        waiter_->await_sleep();
    }
    void act() override { this->lock_.unlock(); }
    void check(Fate fate, Invariants& invariants) override {
        waiter_->check(fate.returned ? Told::never : Told::perhaps, {fate.pid}, invariants);
        check_recovers(this->lock_, this->section_, Told::never, {}, invariants);
    }

    std::optional<LockWaiter<Lock>> waiter_;
};

/// Killed while it waits for a lock, with another process. This process has the lock, and releases
/// it when the victim sleeps.
template <typename Lock>
class AcquireContended : public LockTrial<Lock> {
    void begin() override {
        this->lock_.lock();
        waiter_.emplace(this->lock_, this->section_);
        waiter_->await_sleep();
    }
    void act() override {
        this->lock_.lock();
        this->enter();
    }
    void at_sleep() override {
        this->lock_.unlock();
        is_released_ = true;
    }
    void check(Fate fate, Invariants& invariants) override {
        if (!is_released_) this->lock_.unlock();
        waiter_->check(Told::perhaps, {fate.pid}, invariants);
        check_recovers(this->lock_, this->section_, Told::perhaps, {fate.pid}, invariants);
    }

    std::optional<LockWaiter<Lock>> waiter_;
    bool is_released_ = false;
};

/// Killed while it takes a lock over from a holder that died.
template <typename Lock>
class TakeOver : public LockTrial<Lock> {
protected:
    void begin() override {
        Shared<Gate> gate;
        Companion holder([&] {
            this->lock_.lock();
            this->enter();
            gate->pass();
            sleep_forever();
        });
        gate->open();
        if (!gate->await_arrivals(1)) throw std::runtime_error("no holder");
        holder.kill();
        dead_ = holder.pid();
    }
    void act() override {
        this->lock_.lock();
        this->enter();
    }
    void check(Fate fate, Invariants& invariants) override {
        // One of the two died with the lock. The last is told.
        if (fate.returned)
            check_recovers(this->lock_, this->section_, Told::certainly, {fate.pid}, invariants);
        else
            check_recovers(this->lock_, this->section_, Told::certainly, {dead_, fate.pid},
                           invariants);
    }
    [[noreturn]] static void sleep_forever() {
        for (;;) pause();
    }

    pid_t dead_ = 0;
};

/// The same, but the holder dies while the victim waits, and so does another process.
template <typename Lock>
class TakeOverMeanwhile : public TakeOver<Lock> {
    void begin() override {
        holder_.emplace([&] {
            this->lock_.lock();
            this->enter();
            gate_->pass();
            this->sleep_forever();
        });
        gate_->open();
        if (!gate_->await_arrivals(1)) throw std::runtime_error("no holder");
        this->dead_ = holder_->pid();
        waiter_.emplace(this->lock_, this->section_);
        waiter_->await_sleep();
    }
    void at_sleep() override { holder_->kill(); }
    void check(Fate fate, Invariants& invariants) override {
        holder_->kill();
        waiter_->check(Told::perhaps, {this->dead_, fate.pid}, invariants);
        check_recovers(this->lock_, this->section_, Told::perhaps, {this->dead_, fate.pid},
                       invariants);
    }

    Shared<Gate> gate_;
    std::optional<Companion> holder_;
    std::optional<LockWaiter<Lock>> waiter_;
};

/// Killed while it acquires a recursive lock twice and releases it as often.
class AcquireNested : public LockTrial<RLock> {
    void act() override {
        lock_.lock();
        lock_.lock();
        enter();
        section_.leave();
        lock_.unlock();
        lock_.unlock();
    }
    void check(Fate fate, Invariants& invariants) override {
        check_recovers(lock_, section_, fate.returned ? Told::never : Told::perhaps, {fate.pid},
                       invariants);
    }
};

/// Stopped, not killed, while it waits for a lock. The lock ends, and another one comes to its
/// place.
class LockEnds : public SyncTrial {
    void begin() override { lock_->lock(); }
    void act() override {
        try {
            lock_->lock();
        } catch (const ObjectGone&) {
        }
    }
    void at_sleep() override { lock_->unlock(); }
    void strike(Tracee& victim) override {
        lock_.reset();
        other_.emplace();
        if (victim.address() != address_of(&curtain_down))
            victim.run_to({.places = {address_of(&curtain_down)}});
    }
    void check(Fate, Invariants& invariants) override {
        invariants.require(other_->try_lock(), "one that waited for a lock that has ended has "
                                               "acquired the lock that came to its place");
        if (invariants.hold()) other_->unlock();
    }

    std::optional<Lock> lock_{std::in_place};
    std::optional<Lock> other_;
};

// Semaphores.

template <typename Semaphore>
void check_permits(const Semaphore& semaphore, int least, int most, Invariants& invariants) {
    int permits = 0;
    while (permits <= most && semaphore.try_acquire()) ++permits;
    invariants.require(permits >= least && permits <= most,
                       "there are " + std::to_string(permits) + " permits instead of " +
                           std::to_string(least) + " to " + std::to_string(most));
    if (permits != 0) semaphore.release(permits);
    invariants.require(semaphore.value() == permits, "value() is wrong");
}

class SemaphoreAcquire : public SyncTrial {
    void act() override { semaphore_.acquire(); }
    void check(Fate fate, Invariants& invariants) override {
        check_permits(semaphore_, 1, fate.returned ? 1 : 2, invariants);
    }

    Semaphore semaphore_{2};
};

/// Killed while it releases a permit that another process waits for.
class SemaphoreRelease : public SyncTrial {
    void begin() override {
        waiter_.emplace([&] { semaphore_.acquire(); });
        waiter_->await_sleep();
    }
    void act() override { semaphore_.release(); }
    void check(Fate fate, Invariants& invariants) override {
        if (!fate.returned) semaphore_.release();
        invariants.require(waiter_->ends(), "one that waits for a permit does not get it");
        check_permits(semaphore_, 0, fate.returned ? 0 : 1, invariants);
    }

    Semaphore semaphore_{0};
    std::optional<Companion> waiter_;
};

/// Killed while it waits for a permit, with another process.
class SemaphoreWait : public SyncTrial {
    void begin() override {
        waiter_.emplace([&] { semaphore_.acquire(); });
        waiter_->await_sleep();
    }
    void act() override { semaphore_.acquire(); }
    void at_sleep() override {
        semaphore_.release(2);
        is_released_ = true;
    }
    void check(Fate fate, Invariants& invariants) override {
        if (!is_released_) semaphore_.release(2);
        invariants.require(waiter_->ends(), "one that waits for a permit does not get it");
        check_permits(semaphore_, 0, fate.returned ? 0 : 1, invariants);
    }

    Semaphore semaphore_{0};
    std::optional<Companion> waiter_;
    bool is_released_ = false;
};

/// Killed while it acquires two permits: they come back.
template <typename Bounded>
class BoundedAcquire : public SyncTrial {
    void act() override {
        semaphore_.acquire();
        semaphore_.acquire();
    }
    void check(Fate, Invariants& invariants) override {
        check_permits(semaphore_, 3, 3, invariants);
    }

    Bounded semaphore_{3};
};

/// Killed while it releases both permits, which others wait for.
template <typename Bounded>
class BoundedRelease : public SyncTrial {
    void prepare() override {
        SyncTrial::prepare();
        semaphore_.acquire();
        semaphore_.acquire();
    }
    void begin() override {
        for (std::optional<Companion>& waiter : waiters_) {
            waiter.emplace([&] {
                semaphore_.acquire();
                semaphore_.release();
            });
            waiter->await_sleep();
        }
    }
    void act() override { semaphore_.release(2); }
    void check(Fate, Invariants& invariants) override {
        for (std::optional<Companion>& waiter : waiters_)
            invariants.require(waiter->ends(), "one that waits for a permit does not get it");
        check_permits(semaphore_, 2, 2, invariants);
    }

    Bounded semaphore_{2};
    std::optional<Companion> waiters_[2];
};

/// Killed while it waits for a permit of this process.
template <typename Bounded>
class BoundedWait : public SyncTrial {
    void begin() override { semaphore_.acquire(); }
    void act() override { semaphore_.acquire(); }
    void at_sleep() override {
        semaphore_.release();
        is_released_ = true;
    }
    void check(Fate, Invariants& invariants) override {
        if (!is_released_) semaphore_.release();
        check_permits(semaphore_, 1, 1, invariants);
    }

    Bounded semaphore_{1};
    bool is_released_ = false;
};

/// Stopped, not killed, while it uses an object. The object ends, another one is made, and must not
/// be changed.
template <typename Object, auto use, auto is_new>
class Ends : public SyncTrial {
    void act() override {
        try {
            use(*object_);
        } catch (const ObjectGone&) {
        }
    }
    void strike(Tracee& victim) override {
        object_.reset();
        other_.emplace();
        if (victim.address() != address_of(&curtain_down))
            victim.run_to({.places = {address_of(&curtain_down)}});
    }
    void check(Fate, Invariants& invariants) override {
        invariants.require(is_new(*other_), "one that uses an object that has ended has changed "
                                            "the object that came to its place");
    }

    std::optional<Object> object_{std::in_place};
    std::optional<Object> other_;
};

constexpr auto has_one_permit = [](const Semaphore& semaphore) { return semaphore.value() == 1; };
constexpr auto is_clear = [](const Event& event) { return !event.is_set(); };
constexpr auto acquire = [](const Semaphore& semaphore) { semaphore.acquire(); };
constexpr auto release = [](const Semaphore& semaphore) { semaphore.release(); };
constexpr auto set = [](const Event& event) { event.set(); };

// Events.

class EventSet : public SyncTrial {
    void begin() override {
        for (std::optional<Companion>& waiter : waiters_) {
            waiter.emplace([&] { event_.wait(); });
            waiter->await_sleep();
        }
    }
    void act() override { event_.set(); }
    void check(Fate fate, Invariants& invariants) override {
        invariants.require(event_.is_set() || !fate.returned, "the event is not set");
        if (!event_.is_set()) event_.set();
        for (std::optional<Companion>& waiter : waiters_)
            invariants.require(waiter->ends(), "a wait for an event that is set does not end");
    }

    Event event_;
    std::optional<Companion> waiters_[2];
};

class EventClear : public SyncTrial {
    void begin() override { event_.set(); }
    void act() override { event_.clear(); }
    void check(Fate fate, Invariants& invariants) override {
        invariants.require(!event_.is_set() || !fate.returned, "the event is set");
        event_.set();
        invariants.require(event_.wait_for(patience), "a set event is not found set");
    }

    Event event_;
};

class EventWait : public SyncTrial {
    void begin() override {
        waiter_.emplace([&] { event_.wait(); });
        waiter_->await_sleep();
    }
    void act() override { event_.wait(); }
    void at_sleep() override { event_.set(); }
    void check(Fate, Invariants& invariants) override {
        event_.set();
        invariants.require(waiter_->ends(), "a wait for an event that is set does not end");
    }

    Event event_;
    std::optional<Companion> waiter_;
};

// Conditions.

template <typename Condition>
class ConditionTrial : public SyncTrial {
protected:
    void start(std::optional<Companion>& waiter) {
        waiter.emplace([&] {
            std::unique_lock guard(condition_.lock());
            condition_.wait(guard, [&] { return go_->load(); });
        });
        waiter->await_sleep();
    }
    void check_end(std::optional<Companion>& waiter, Invariants& invariants) {
        invariants.require(waiter->ends(), "a wait for a condition that has come does not end");
    }

    Condition condition_;
    Shared<std::atomic<bool>> go_;
    Section section_;
};

/// Killed while it notifies processes of what has come.
template <typename Condition, bool all>
class Notify : public ConditionTrial<Condition> {
    void begin() override {
        for (std::optional<Companion>& waiter : waiters_) this->start(waiter);
        *this->go_ = true; // their sleep is real, so nobody sees it
    }
    void act() override {
        if constexpr (all)
            this->condition_.notify_all();
        else
            this->condition_.notify_one();
    }
    void check(Fate, Invariants& invariants) override {
        for (std::optional<Companion>& waiter : waiters_) this->check_end(waiter, invariants);
    }

    std::optional<Companion> waiters_[all ? 2 : 1];
};

/// Killed while it waits, with another process.
class ConditionWait : public ConditionTrial<Condition> {
    void begin() override { start(waiter_); }
    void act() override {
        std::unique_lock guard(condition_.lock());
        condition_.wait(guard, [&] { return go_->load(); });
    }
    void at_sleep() override {
        {
            const std::scoped_lock guard(condition_.lock());
            *go_ = true;
        }
        condition_.notify_all();
    }
    void check(Fate fate, Invariants& invariants) override {
        *go_ = true;
        condition_.notify_all();
        check_end(waiter_, invariants);
        // The waiter may have taken the lock over, and is not one that clears it.
        if (condition_.lock().abandoned()) {
            const std::scoped_lock guard(condition_.lock());
            invariants.require(!fate.returned, "a death is told though the dead held nothing");
            condition_.lock().mark_consistent();
        }
        check_recovers(condition_.lock(), section_, fate.returned ? Told::never : Told::perhaps,
                       {fate.pid}, invariants);
    }

    std::optional<Companion> waiter_;
};

// Barriers.

/// How a wait at a barrier has ended.
struct BarrierOutcome {
    enum : int { none, left, broke };
    std::atomic<int> how{none};
    std::atomic<int> index{-1};
    std::atomic<int> who{0};
};

template <typename Barrier>
void wait_at(const Barrier& barrier, BarrierOutcome& outcome) {
    try {
        outcome.index = barrier.wait_for(patience);
        outcome.how = BarrierOutcome::left;
    } catch (const BrokenBarrier& error) {
        outcome.who = error.who().pid;
        outcome.how = BarrierOutcome::broke;
    }
}

/// A barrier of two parties, with an action that counts its runs.
template <typename Barrier, bool has_action>
class BarrierTrial : public SyncTrial {
protected:
    static Barrier make(std::atomic<int>& runs) {
        if constexpr (has_action)
            return Barrier(2, [&runs] { runs.fetch_add(1); });
        else
            return Barrier(2);
    }

    /// The other party's wait has ended as it may. `runs`: of the action, if the phase is complete.
    void check_outcome(const BarrierOutcome& outcome, Fate fate, int runs, Invariants& invariants) {
        if (outcome.how == BarrierOutcome::left) {
            invariants.require(!has_action || *runs_ == runs,
                               "one has left, and the action has run " + std::to_string(*runs_) +
                                   " times");
            invariants.require(!barrier_.broken(), "one has left a barrier that is broken");
        } else {
            invariants.require(outcome.how == BarrierOutcome::broke, "a wait does not end");
            invariants.require(!fate.returned, "broken, though one has left");
            invariants.require(outcome.who == fate.pid, "the death of another has broken it");
            invariants.require(barrier_.broken(), "a wait was broken, the barrier is not");
        }
        check_recovers(invariants);
    }
    /// After a reset all is as at first.
    void check_recovers(Invariants& invariants) {
        barrier_.reset();
        const int before = *runs_;
        Shared<BarrierOutcome> others;
        Companion other([&] { wait_at(barrier_, *others); });
        BarrierOutcome own;
        wait_at(barrier_, own);
        invariants.require(other.ends(), "another's wait does not end after a reset");
        invariants.require(own.how == BarrierOutcome::left && others->how == BarrierOutcome::left,
                           "a barrier that was reset is broken");
        invariants.require(own.index + others->index == 1, "an index was given twice");
        invariants.require(!has_action || *runs_ == before + 1, "the action has not run once");
    }

    Shared<std::atomic<int>> runs_;
    Barrier barrier_{make(*runs_)};
};

/// Killed as the last that arrives. The other one waits; both took part in the phase before.
template <typename Barrier, bool has_action>
class ArriveLast : public BarrierTrial<Barrier, has_action> {
    void prepare() override { this->barrier_.wait(); }
    void prepare_beside() override {
        other_.emplace([&] {
            this->barrier_.wait();
            wait_at(this->barrier_, *outcome_);
        });
    }
    void begin() override {
        if (!eventually([&] { return this->barrier_.n_waiting() == 1; }))
            throw std::runtime_error("the other party does not arrive");
        other_->await_sleep();
    }
    void act() override { this->barrier_.wait(); }
    void check(Fate fate, Invariants& invariants) override {
        invariants.require(other_->ends(), "the other party waits for ever");
        this->check_outcome(*outcome_, fate, 2, invariants);
    }

    Shared<BarrierOutcome> outcome_;
    std::optional<Companion> other_;
};

/// Killed as the first that arrives. This process is the other party.
template <typename Barrier, bool has_action>
class ArriveFirst : public BarrierTrial<Barrier, has_action> {
    void prepare() override { this->barrier_.wait(); }
    void prepare_beside() override { this->barrier_.wait(); }
    void act() override { this->barrier_.wait(); }
    void at_sleep() override { wait_at(this->barrier_, outcome_); }
    void check(Fate fate, Invariants& invariants) override {
        if (outcome_.how == BarrierOutcome::none) at_sleep();
        this->check_outcome(outcome_, fate, 2, invariants);
    }

    BarrierOutcome outcome_;
};

/// Killed while it breaks or resets a barrier at which another process waits.
template <bool resets>
class EndPhase : public BarrierTrial<Barrier, false> {
    void begin() override {
        other_.emplace([&] { wait_at(barrier_, *outcome_); });
        if (!eventually([&] { return barrier_.n_waiting() == 1; }))
            throw std::runtime_error("the other party does not arrive");
        other_->await_sleep();
    }
    void act() override {
        if constexpr (resets)
            barrier_.reset();
        else
            barrier_.abort();
    }
    void check(Fate fate, Invariants& invariants) override {
        const bool has_ended = barrier_.broken() || barrier_.n_waiting() == 0;
        invariants.require(has_ended || !fate.returned, "nothing has happened");
        if (!has_ended) {
            BarrierOutcome own;
            wait_at(barrier_, own);
            invariants.require(own.how == BarrierOutcome::left, "broken for this process only");
        }
        invariants.require(other_->ends(), "a wait that was ended does not end");
        invariants.require(outcome_->how ==
                               (has_ended ? BarrierOutcome::broke : BarrierOutcome::left),
                           "a wait has ended wrongly");
        invariants.require(outcome_->who == 0, "somebody was told of a death");
        check_recovers(invariants);
    }

    Shared<BarrierOutcome> outcome_;
    std::optional<Companion> other_;
};

// The family.

/// Killed while it joins the family, or makes and ends objects. Its slot and all its memory come
/// back to the process that takes the slot next.
class FamilyTrial : public SyncTrial {
protected:
    FamilyTrial() {
        auto& next = memory_.header().next_member;
        if ((next ^ sync::this_member()) % 4096 == 0) ++next; // not the slot of this process
        slot_ = next;
        owned_ = memory_.usage().owned;
    }
    void check(Fate, Invariants& invariants) override {
        memory_.header().next_member = slot_;
        Shared<std::atomic<sync::MemberId>> member;
        Companion next([&] {
            *member = sync::this_member();
            const Lock lock;
            const std::scoped_lock guard(lock);
        });
        invariants.require(next.ends(), "no process can join the family");
        invariants.require((*member ^ slot_) % 4096 == 0, "the slot of the dead is lost");
        // The object that the last process had made is its own.
        invariants.require(memory_.usage().owned <= owned_ + 1, "memory of the dead is lost");
        invariants.require(!sync::lives(*member), "a process that has ended lives");
    }

    const shm::FamilyMemory& memory_ = shm::FamilyMemory::get();
    std::uint32_t slot_ = 0;
    std::uint64_t owned_ = 0;
};

class Join : public FamilyTrial {
    void prepare() override {}
    void act() override { sync::this_member(); }
};

class MakeAndEnd : public FamilyTrial {
    void act() override {
        const Lock lock;
        const BoundedSemaphore semaphore(300);
        semaphore.acquire();
    }
};

/// Killed while it ends a lock that another process waits for, and this one holds.
class EndWithWaiter : public SyncTrial {
    void prepare() override {
        lock_.emplace();
        *id_ = detail::HandleAccess::parts(*lock_);
    }
    void begin() override {
        copy_.emplace(detail::HandleAccess::make<Lock>(*id_));
        copy_->lock();
        waiter_.emplace([&] {
            try {
                copy_->lock();
                copy_->unlock();
            } catch (const ObjectGone&) {
            }
        });
        waiter_->await_sleep();
    }
    void act() override { lock_.reset(); }
    void check(Fate fate, Invariants& invariants) override {
        bool is_gone = false;
        try {
            is_gone = copy_->try_lock(); // this process has it
        } catch (const ObjectGone&) {
            is_gone = true;
        }
        invariants.require(is_gone || !fate.returned, "the lock is still there");
        copy_->unlock();
        invariants.require(waiter_->ends(), "a wait for a lock that has ended does not end");
    }

    Shared<detail::ObjectId> id_;
    std::optional<Lock> lock_;
    std::optional<Lock> copy_;
    std::optional<Companion> waiter_;
};

} // namespace prong::test
