#include "pool/crew.hpp"

namespace prong::pool {

proc::Crew::Wish PoolCrew::wish() {
    switch (state_.control().orders.load(std::memory_order_acquire)) {
    case Orders::run:
        return Wish::keep;
    case Orders::drain:
        return Wish::drain;
    case Orders::terminate:
        return Wish::terminate;
    case Orders::kill:
        break;
    }
    return Wish::kill; // also when the word has been overwritten with nonsense
}

bool PoolCrew::has_work() {
    return !state_.ring.drained();
}

int PoolCrew::work(unsigned worker) {
    state_.region.keep_from_children(); // what a task forks has no business there
    return run_worker_process(state_, worker, hooks_);
}

void PoolCrew::starting(unsigned worker) {
    WorkerSlot& slot = state_.slot(worker);
    slot.note.record.store(0, std::memory_order_relaxed);
    slot.ready.store(false, std::memory_order_relaxed);
    slot.failure.clear();
}

bool PoolCrew::ended(unsigned worker, os::ProcessExit exit) {
    // In a broken pool the parent ends all tasks alike, with the cause.
    if (!state_.control().broken.load(std::memory_order_relaxed)) {
        repair_after_death(state_, worker, exit);
    }
    return state_.slot(worker).ready.load(std::memory_order_acquire);
}

unsigned PoolCrew::starts() {
    return state_.control().starts.load(std::memory_order_acquire);
}

std::string PoolCrew::failure(unsigned worker) {
    return state_.slot(worker).failure.get();
}

void PoolCrew::stopped(unsigned worker) {
    state_.parking.forget(worker);
}

void PoolCrew::continued(unsigned worker) {
    state_.parking.wake(worker);
}

void PoolCrew::broke(const std::string& cause) {
    Control& control = state_.control();
    control.cause.set(cause);
    control.broken.store(true, std::memory_order_release);
    // Those who wait for one task look at the flag now and then; these can be told.
    control.completions.fetch_add(1);
    os::futex_wake(control.completions, os::everyone);
    control.cursor.room.fetch_add(1);
    os::futex_wake(control.cursor.room, os::everyone);
}

void repair_after_death(SharedState& state, unsigned worker, os::ProcessExit exit) noexcept {
    const ring::Note& note = state.slot(worker).note;
    std::uint8_t waiters = 0;
    const ring::Record* const record = state.ring.repair(static_cast<std::uint16_t>(worker), note,
                                                         exit.pid, exit.exitcode, waiters);
    if (record != nullptr) {
        // The blocks had not been published with the task, so they are nobody's now.
        state.payload.reclaim(note.block.load(std::memory_order_acquire), worker);
        state.payload.reclaim(note.outgrown_block.load(std::memory_order_acquire), worker);
        state.announce(*record, waiters);
    }
    state.parking.forget(worker);
}

} // namespace prong::pool
