// The harness of worker_test.cpp must notice when something is wrong: here, workers and
// supervisors do one thing wrong on purpose, over the same shared memory.

#include "executor/shared/failure_report.hpp"
#include "executor/shared/result_writer.hpp"
#include "executor/supervisor/delegate.hpp"
#include "proc/supervisor.hpp"
#include "ring/fixture.hpp"
#include "steps/loop_trial.hpp"
#include "steps/parent_trial.hpp"
#include "steps/relay_trial.hpp"
#include "steps/trial.hpp"
#include "support/catch.hpp"

#include <prong/detail/task_type.hpp>

#include <functional>
#include <optional>
#include <string>

using namespace prong::test;
using prong::executor::SharedState;
using prong::executor::SupervisorOptions;
using prong::os::ProcessExit;
using prong::ring::Claim;
using prong::ring::Record;
using prong::ring::Status;
using prong::ring::TaskState;
using prong::ring::WorkerIntent;

namespace {

enum class Mutation {
    none,
    ticket_before_owner, ///< takes the position, then the record
    late_note,           ///< notes what it has claimed, not what it is about to claim
    early_end,           ///< says that the task has ended, then runs it
    no_repair,           ///< the supervisor replaces a dead worker, no more
    payload_forgotten,   ///< the supervisor repairs the record, not the payload
    loop_forgotten,      ///< ... but does not send the byte that the dead worker may owe a loop
    abandoned_result,    ///< keeps the result of a dropped future
    one_intent,          ///< the relay notes all of its tasks in the intent of one claim
};

/// As a ring does whose position is the claim: each position is given to one worker, which then
/// takes the record that is there.
std::optional<Claim> take_ticket(SharedState& state, std::uint16_t owner, WorkerIntent& intent) {
    if (!state.lanes.has_work()) return std::nullopt;
    const auto generation =
        prong::ring::generation_of(state.control().lanes.cursors[0].head.fetch_add(1));
    for (std::uint32_t index = 0; index < state.records.size(); ++index) {
        Record& record = state.records[index];
        Status status = Status::unpack(record.status.load());
        if (status.state != TaskState::queued || status.generation != generation) continue;
        intent.record = index + 1;
        std::uint64_t word = status.pack();
        status.state = TaskState::running;
        status.owner = owner;
        if (!record.status.compare_exchange_strong(word, status.pack())) return std::nullopt;
        return Claim{.record = &record, .index = index, .status = status};
    }
    return std::nullopt; // cancelled
}

std::optional<Claim> claim(SharedState& state, std::uint16_t owner, Mutation mutation) {
    WorkerIntent& intent = state.slot(owner).intent;
    if (mutation == Mutation::ticket_before_owner) return take_ticket(state, owner, intent);
    if (mutation != Mutation::late_note) return prong::test::claim(state, owner);
    Claim claimed{};
    WorkerIntent own{};
    if (!state.lanes.claim(owner, own, 0, claimed)) return std::nullopt;
    intent.record = claimed.index + 1;
    return claimed;
}

void run(const SharedState& state, std::uint16_t owner, Record& record) {
    prong::detail::Reader reader(state.arguments_of(record).value());
    prong::executor::ResultWriter writer(state, owner, record);
    reinterpret_cast<const prong::detail::TaskType*>(record.task_type)->run(reader, writer);
    writer.store();
}

void run_and_end(const SharedState& state, const Claim& claim, Mutation mutation) {
    if (mutation != Mutation::early_end) run(state, claim.status.owner, *claim.record);
    std::atomic<std::uint64_t>& block = state.slot(claim.status.owner).intent.block;
    const bool holds_payload = block.load() != 0 && mutation != Mutation::abandoned_result;
    Status after = prong::ring::finish(claim, TaskState::returned, holds_payload);
    if (after.state == TaskState::running) { // abandoned
        state.payload.reclaim(block.exchange(0), claim.status.owner);
        prong::executor::ResultWriter(state, claim.status.owner, *claim.record).store();
        after = prong::ring::finish(claim, TaskState::returned);
    }
    static_cast<void>(state.announce(*claim.record, after.flags));
    if (mutation == Mutation::early_end) run(state, claim.status.owner, *claim.record);
}

/// The worker's loop in short.
int work_wrongly(SharedState& state, std::uint16_t worker, Mutation mutation) {
    state.slot(worker).start.store(prong::executor::StartState::ready);
    state.control().starts.fetch_add(1);
    state.notifier.set_searching(worker);
    while (!state.lanes.drained()) {
        if (const auto claimed = claim(state, worker, mutation)) {
            run_and_end(state, *claimed, mutation);
        } else {
            state.notifier.park(worker,
                                [&] { return state.lanes.has_work() || state.lanes.drained(); });
        }
    }
    return 0;
}

/// A relay's loop in short: claims two tasks, then runs them.
int relay_wrongly(SharedState& state) {
    const auto owner = static_cast<std::uint16_t>(state.owner_of_claim(0));
    state.slot(state.relay()).start.store(prong::executor::StartState::ready);
    while (!state.lanes.drained()) {
        Claim one{};
        Claim other{};
        const bool has_one = state.lanes.claim(owner, state.intent(owner), 0, one);
        const bool has_other = has_one && state.lanes.claim(owner, state.intent(owner), 0, other);
        state.claims()[0].rank = 1;
        if (has_one) run_and_end(state, one, Mutation::none);
        if (has_other) run_and_end(state, other, Mutation::none);
        if (has_one) continue;
        state.notifier.park(state.relay(),
                            [&] { return state.lanes.has_work() || state.lanes.drained(); });
    }
    return 0;
}

/// The pool's delegate, but for the mutation.
class MutantDelegate final : public prong::proc::SupervisorDelegate {
public:
    MutantDelegate(SharedState& state, Mutation mutation, const SupervisorOptions& options)
        : state_(state), mutation_(mutation), delegate_(state, options) {}

    int work(unsigned worker) override {
        if (mutation_ == Mutation::one_intent) return relay_wrongly(state_);
        if (state_.has_relay()) return delegate_.work(worker);
        return work_wrongly(state_, static_cast<std::uint16_t>(worker), mutation_);
    }
    bool ended(unsigned worker, ProcessExit exit) override {
        if (mutation_ == Mutation::no_repair) return true;
        const bool forgets =
            mutation_ == Mutation::payload_forgotten || mutation_ == Mutation::loop_forgotten;
        if (!forgets) return delegate_.ended(worker, exit);
        if (const auto task = prong::ring::unfinished(
                state_.records, static_cast<std::uint16_t>(worker), state_.slot(worker).intent)) {
            write_failure_report(state_, worker, *task->record,
                                 {.death = {.pid = exit.pid, .exitcode = exit.exitcode}});
            const auto after = prong::ring::fail_dead(*task, TaskState::died);
            static_cast<void>(state_.announce(*task->record, after.flags));
        }
        state_.notifier.forget(worker);
        return true;
    }

    prong::proc::StopMode stop_mode() override { return delegate_.stop_mode(); }
    bool has_work() override { return delegate_.has_work(); }
    void starting(unsigned worker) override { delegate_.starting(worker); }
    void started(unsigned worker, pid_t pid) override { delegate_.started(worker, pid); }
    std::string reason_to_give_up() override { return delegate_.reason_to_give_up(); }
    prong::detail::Deadline attend(const std::function<void(unsigned)>& kill) override {
        return delegate_.attend(kill);
    }
    unsigned starts() override { return delegate_.starts(); }
    std::string failure(unsigned worker) override { return delegate_.failure(worker); }
    void stopped(unsigned worker) override { delegate_.stopped(worker); }
    void continued(unsigned worker) override { delegate_.continued(worker); }
    void broke(const std::string& cause) override { delegate_.broke(cause); }

private:
    SharedState& state_;
    Mutation mutation_;
    prong::executor::PoolDelegate delegate_;
};

template <typename AnyTrial, typename Content>
std::size_t violations(Mutation mutation, const AnyTrial& trial, const Content& content,
                       const Share& share) {
    const auto supervise = [mutation](SharedState& state, const SupervisorOptions& options,
                                      int parent_pidfd) {
        MutantDelegate delegate(state, mutation, options);
        return prong::proc::supervise(delegate, state.processes(),
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
    CHECK(violations(Mutation::none, killed, small_task, some) == 0);
    CHECK(violations(Mutation::none, killed, block_task, some) == 0);
}

TEST_CASE("a claim that takes the position before the record is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::ticket_before_owner, killed, small_task, all) > 0);
}

TEST_CASE("a claim that is noted after it is made is caught") {
    if (skipped()) return;
    // Several tasks: the note of the one before must not happen to be right.
    CHECK(violations(Mutation::late_note, killed, three_tasks, all) > 0);
}

TEST_CASE("an end that is announced before the task has run is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::early_end, killed, small_task, some) > 0);
}

TEST_CASE("a result that is kept though its future was dropped is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::none, dropped, block_task, some) == 0);
    CHECK(violations(Mutation::abandoned_result, dropped, block_task, some) > 0);
}

TEST_CASE("a supervisor that does not repair is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::no_repair, killed, small_task, some) > 0);
}

TEST_CASE("a supervisor that does not take back payload is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::payload_forgotten, killed, block_task, some) > 0);
}

TEST_CASE("a supervisor that does not send the byte that a dead worker owes a loop is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::none, killed_under_loop, awaited_task, some) == 0);
    CHECK(violations(Mutation::loop_forgotten, killed_under_loop, awaited_task, all) > 0);
}

TEST_CASE("an end that is announced too early to a waiting parent is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::none, worker_dies_under_sleeper, one_small, some) == 0);
    CHECK(violations(Mutation::early_end, worker_dies_under_sleeper, one_small, some) > 0);
}

TEST_CASE("a parent that waits for ever is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::none, worker_dies_under_parent, everything, some) == 0);
    CHECK(violations(Mutation::no_repair, worker_dies_under_parent, everything, some) > 0);
}

TEST_CASE("a supervisor that does not repair what a relay has left is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::none, relay_killed, small_task, some) == 0);
    CHECK(violations(Mutation::no_repair, relay_killed, small_task, some) > 0);
}

TEST_CASE("a relay that notes two tasks in one intent is caught") {
    if (skipped()) return;
    CHECK(violations(Mutation::one_intent, relay_killed, three_tasks, all) > 0);
}

TEST_CASE("a relay that says too late that it has sent a task is caught") {
    if (skipped()) return;
    constexpr Trial late_relay_killed{.name = "SIGKILL for a relay that says too late",
                                      .act = kill_relay_and_check,
                                      .habits = {.relay = run_late_relay}};
    CHECK(violations(Mutation::none, late_relay_killed, small_task, all) > 0);
}
