// The harness of worker_test.cpp must notice when something is wrong: here, workers and
// supervisors do one thing wrong on purpose, over the same shared memory.

#include "pool/crew.hpp"
#include "pool/obituary.hpp"
#include "pool/result_writer.hpp"
#include "pool/worker.hpp"
#include "proc/supervisor.hpp"
#include "steps/parent_trial.hpp"
#include "steps/trial.hpp"
#include "support/catch.hpp"

#include <prong/detail/task_type.hpp>

#include <functional>
#include <optional>
#include <string>

using namespace prong::test;
using prong::os::ProcessExit;
using prong::pool::SharedState;
using prong::ring::Claim;
using prong::ring::Note;
using prong::ring::Record;
using prong::ring::Status;
using prong::ring::TaskState;

namespace {

enum class Mistake {
    none,
    ticket_before_owner, ///< takes the position, then the record
    late_note,           ///< notes what it has claimed, not what it is about to claim
    early_end,           ///< says that the task has ended, then runs it
    no_repair,           ///< the supervisor replaces a dead worker, no more
    payload_forgotten,   ///< the supervisor repairs the record, not the payload
    abandoned_result,    ///< ends a task as if somebody would ask for its result
};

/// As a ring does whose position is the claim: each position is given to one worker, which then
/// takes the record that is there.
std::optional<Claim> take_ticket(SharedState& state, std::uint16_t owner, Note& note) {
    if (!state.lanes.has_work()) return std::nullopt;
    const auto generation =
        prong::ring::generation_of(state.control().lanes.cursors[0].head.fetch_add(1));
    for (std::uint32_t index = 0; index < state.records.size(); ++index) {
        Record& record = state.records[index];
        Status status = Status::unpack(record.status.load());
        if (status.state != TaskState::queued || status.generation != generation) continue;
        note.record = index + 1;
        std::uint64_t word = status.pack();
        status.state = TaskState::running;
        status.owner = owner;
        if (!record.status.compare_exchange_strong(word, status.pack())) return std::nullopt;
        return Claim{.record = &record, .index = index, .status = status};
    }
    return std::nullopt; // cancelled
}

std::optional<Claim> claim(SharedState& state, std::uint16_t owner, Mistake mistake) {
    Note& note = state.slot(owner).note;
    if (mistake == Mistake::ticket_before_owner) return take_ticket(state, owner, note);
    if (mistake != Mistake::late_note) return state.lanes.claim(owner, note, 0);
    Note own{};
    const auto claimed = state.lanes.claim(owner, own, 0);
    if (claimed) note.record = claimed->index + 1;
    return claimed;
}

void run(const SharedState& state, std::uint16_t owner, Record& record) {
    const auto* const arguments = record.arguments_offset < sizeof(Record)
                                      ? record.bytes
                                      : state.payload.at(record.arguments_offset);
    prong::detail::Reader reader({arguments, record.arguments_length});
    prong::pool::ResultWriter writer(state, owner, record);
    reinterpret_cast<const prong::detail::TaskType*>(record.task_type)->run(reader, writer);
    writer.store();
}

void run_and_end(const SharedState& state, const Claim& claim, Mistake mistake) {
    if (mistake != Mistake::early_end) run(state, claim.status.owner, *claim.record);
    std::atomic<std::uint64_t>& block = state.slot(claim.status.owner).note.block;
    const bool holds_payload = block.load() != 0 && mistake != Mistake::abandoned_result;
    Status after = prong::ring::finish(claim, TaskState::returned, holds_payload);
    if (after.state == TaskState::running) { // abandoned
        state.payload.reclaim(block.exchange(0), claim.status.owner);
        prong::pool::ResultWriter(state, claim.status.owner, *claim.record).store();
        after = prong::ring::finish(claim, TaskState::returned);
    }
    state.announce(*claim.record, after.flags);
    if (mistake == Mistake::early_end) run(state, claim.status.owner, *claim.record);
}

/// The worker's loop in short.
int work_wrongly(SharedState& state, std::uint16_t worker, Mistake mistake) {
    state.slot(worker).ready.store(true);
    state.control().starts.fetch_add(1);
    state.parking.set_searching(worker);
    while (!state.lanes.drained()) {
        if (const auto claimed = claim(state, worker, mistake)) {
            run_and_end(state, *claimed, mistake);
        } else {
            state.parking.park(worker,
                               [&] { return state.lanes.has_work() || state.lanes.drained(); });
        }
    }
    return 0;
}

/// The pool's crew, but for the mistake.
class WrongCrew final : public prong::proc::Crew {
public:
    WrongCrew(SharedState& state, Mistake mistake) : state_(state), mistake_(mistake) {}

    int work(unsigned worker) override {
        return work_wrongly(state_, static_cast<std::uint16_t>(worker), mistake_);
    }
    bool ended(unsigned worker, ProcessExit exit) override {
        if (mistake_ == Mistake::no_repair) return true;
        if (mistake_ != Mistake::payload_forgotten) return crew_.ended(worker, exit);
        if (const auto task = prong::ring::unfinished(
                state_.records, static_cast<std::uint16_t>(worker), state_.slot(worker).note)) {
            write_obituary(state_, worker, *task->record,
                           {.death = {.pid = exit.pid, .exitcode = exit.exitcode}});
            state_.announce(*task->record, prong::ring::bury(*task, TaskState::died).flags);
        }
        state_.parking.forget(worker);
        return true;
    }

    Wish wish() override { return crew_.wish(); }
    bool has_work() override { return crew_.has_work(); }
    void starting(unsigned worker) override { crew_.starting(worker); }
    void started(unsigned worker, pid_t pid) override { crew_.started(worker, pid); }
    std::string reason_to_give_up() override { return crew_.reason_to_give_up(); }
    prong::base::Deadline attend(const std::function<void(unsigned)>& kill) override {
        return crew_.attend(kill);
    }
    unsigned starts() override { return crew_.starts(); }
    std::string failure(unsigned worker) override { return crew_.failure(worker); }
    void stopped(unsigned worker) override { crew_.stopped(worker); }
    void continued(unsigned worker) override { crew_.continued(worker); }
    void broke(const std::string& cause) override { crew_.broke(cause); }

private:
    SharedState& state_;
    Mistake mistake_;
    prong::pool::CrewOptions options_;
    prong::pool::PoolCrew crew_{state_, options_};
};

template <typename AnyTrial, typename Content>
std::size_t violations(Mistake mistake, const AnyTrial& trial, const Content& content,
                       const Share& share) {
    const auto supervise = [mistake](SharedState& state, int parent_pidfd) {
        WrongCrew crew(state, mistake);
        return prong::proc::supervise(crew, state.workers(),
                                      {.parent_pidfd = parent_pidfd, .bell = -1});
    };
    const Tally tally = try_points(trial, content, share, supervise);
    CHECK(tally.points() > 0);
    UNSCOPED_INFO(tally.examples());
    return tally.violations();
}

constexpr Share all{.few = 10'000};
constexpr Share some{.few = 50, .most = 50};

} // namespace

TEST_CASE("a worker's loop that does nothing wrong is found to be right") {
    if (skipped()) return;
    CHECK(violations(Mistake::none, killed, small_task, some) == 0);
    CHECK(violations(Mistake::none, killed, block_task, some) == 0);
}

TEST_CASE("a claim that takes the position before the record is caught") {
    if (skipped()) return;
    CHECK(violations(Mistake::ticket_before_owner, killed, small_task, all) > 0);
}

TEST_CASE("a claim that is noted after it is made is caught") {
    if (skipped()) return;
    // Several tasks: the note of the one before must not happen to be right.
    CHECK(violations(Mistake::late_note, killed, three_tasks, all) > 0);
}

TEST_CASE("an end that is told before the task has run is caught") {
    if (skipped()) return;
    CHECK(violations(Mistake::early_end, killed, small_task, some) > 0);
}

TEST_CASE("a result that is kept though its future was dropped is caught") {
    if (skipped()) return;
    CHECK(violations(Mistake::none, dropped, block_task, some) == 0);
    CHECK(violations(Mistake::abandoned_result, dropped, block_task, some) > 0);
}

TEST_CASE("a supervisor that does not repair is caught") {
    if (skipped()) return;
    CHECK(violations(Mistake::no_repair, killed, small_task, some) > 0);
}

TEST_CASE("a supervisor that does not take back payload is caught") {
    if (skipped()) return;
    CHECK(violations(Mistake::payload_forgotten, killed, block_task, some) > 0);
}

TEST_CASE("a parent that is told of an end before it is there is seen to be wrong") {
    if (skipped()) return;
    CHECK(violations(Mistake::none, worker_dies_under_sleeper, one_small, some) == 0);
    CHECK(violations(Mistake::early_end, worker_dies_under_sleeper, one_small, some) > 0);
}

TEST_CASE("a parent that waits for ever is seen to do so") {
    if (skipped()) return;
    CHECK(violations(Mistake::none, worker_dies_under_parent, everything, some) == 0);
    CHECK(violations(Mistake::no_repair, worker_dies_under_parent, everything, some) > 0);
}
