// A process is killed at each instruction of each operation on synchronisation objects. The others,
// which may be waiting, must go on, and be told exactly what the headers promise.

#include "steps/sync_trials.hpp"

using namespace prong::test;
using prong::Barrier;
using prong::BoundedSemaphore;
using prong::Condition;
using prong::Event;
using prong::Lock;
using prong::RLock;
using prong::Semaphore;

TEST_CASE("a process is killed at every instruction of an operation on a lock") {
    if (skipped()) return;
    require_none_wrong<Acquire<Lock>>("Lock::lock");
    require_none_wrong<Release<Lock>>("Lock::unlock with a waiter");
    require_none_wrong<AcquireContended<Lock>>("Lock::lock, contended", 25);
    require_none_wrong<TakeOver<Lock>>("Lock::lock after a death", 25);
    require_none_wrong<TakeOverMeanwhile<Lock>>("Lock::lock, the holder dies", 25);
    require_none_wrong<Acquire<RLock>>("RLock::lock");
    require_none_wrong<AcquireNested>("RLock, nested");
    require_none_wrong<TakeOver<RLock>>("RLock::lock after a death");
}

TEST_CASE("an object ends at every instruction of one that uses it") {
    if (skipped()) return;
    require_none_wrong<LockEnds>("Lock::lock, the lock ends", 90);
    require_none_wrong<Ends<Semaphore, acquire, has_one_permit>>("Semaphore::acquire, it ends", 30);
    require_none_wrong<Ends<Semaphore, release, has_one_permit>>("Semaphore::release, it ends", 30);
    require_none_wrong<Ends<Event, set, is_clear>>("Event::set, it ends", 30);
}

TEST_CASE("a process is killed at every instruction of an operation on a semaphore") {
    if (skipped()) return;
    require_none_wrong<SemaphoreAcquire>("Semaphore::acquire");
    require_none_wrong<SemaphoreRelease>("Semaphore::release with a waiter");
    require_none_wrong<SemaphoreWait>("Semaphore::acquire, waiting");
    require_none_wrong<BoundedAcquire<BoundedSemaphore>>("BoundedSemaphore::acquire");
    require_none_wrong<BoundedRelease<BoundedSemaphore>>("BoundedSemaphore::release with waiters");
    require_none_wrong<BoundedWait<BoundedSemaphore>>("BoundedSemaphore::acquire, waiting");
}

TEST_CASE("a process is killed at every instruction of an operation on an event") {
    if (skipped()) return;
    require_none_wrong<EventSet>("Event::set with waiters");
    require_none_wrong<EventClear>("Event::clear");
    require_none_wrong<EventWait>("Event::wait");
}

TEST_CASE("a process is killed at every instruction of an operation on a condition") {
    if (skipped()) return;
    require_none_wrong<Notify<Condition, false>>("Condition::notify_one");
    require_none_wrong<Notify<Condition, true>>("Condition::notify_all");
    // It looks for the deaths of all that ever were members, which takes most of its way.
    require_none_wrong<ConditionWait>("Condition::wait", 40, 800);
}

TEST_CASE("a process is killed at every instruction of an operation on a barrier") {
    if (skipped()) return;
    require_none_wrong<ArriveLast<Barrier, false>>("Barrier::wait as the last");
    require_none_wrong<ArriveLast<Barrier, true>>("Barrier::wait as the last, with an action");
    require_none_wrong<ArriveFirst<Barrier, false>>("Barrier::wait as the first");
    require_none_wrong<ArriveFirst<Barrier, true>>("Barrier::wait as the first, with an action");
    require_none_wrong<EndPhase<false>>("Barrier::abort");
    require_none_wrong<EndPhase<true>>("Barrier::reset");
}

TEST_CASE("a process is killed at every instruction of its first use, and of an object's life") {
    if (skipped()) return;
    require_none_wrong<Join>("joining the family", 35);
    require_none_wrong<MakeAndEnd>("making and ending objects", 35);
    require_none_wrong<EndWithWaiter>("ending a lock with a waiter");
}
