// Chaos must notice when a pool is wrong: here its supervisor does one thing wrong on purpose, over
// the same shared memory.

#include "chaos/round.hpp"
#include "executor/supervisor/delegate.hpp"
#include "proc/supervisor.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <functional>
#include <string>

using namespace prong::test;
using prong::executor::SharedState;
using prong::executor::SupervisorOptions;

namespace {

enum class Mutation {
    none,
    no_repair,         ///< dead workers are replaced, no more
    no_failure_report, ///< a dead worker's task is said to have returned
    wrong_exit,        ///< the exit code is another worker's
    always_again,      ///< every task is tried again, wanted or not
    no_sentence,       ///< kills the worker of an overdue task without checking which task it runs
    lost_retry,        ///< a task that is to be tried again is forgotten
};

/// The pool's delegate, but for the mutation.
class MutantDelegate final : public prong::proc::SupervisorDelegate {
public:
    MutantDelegate(SharedState& state, const SupervisorOptions& options, Mutation mutation)
        : state_(state), mutation_(mutation), delegate_(state, options) {}

    bool ended(unsigned worker, prong::os::ProcessExit exit) override {
        const auto task = unfinished(worker);
        if (mutation_ == Mutation::no_repair && task) return true;
        if (mutation_ == Mutation::no_failure_report && task) {
            const auto after = prong::ring::fail_dead(*task, prong::ring::TaskState::returned);
            static_cast<void>(state_.announce(*task->record, after.flags));
        }
        if (mutation_ == Mutation::always_again && task)
            prong::ring::requeue(*task, state_.slot(worker).intent);
        if (mutation_ == Mutation::wrong_exit && exit.exitcode < 0)
            std::swap(exit.exitcode, last_exitcode_);
        const bool started = delegate_.ended(worker, exit);
        if (mutation_ == Mutation::lost_retry) state_.slot(worker).intent.retry = 0;
        return started;
    }
    prong::detail::Deadline attend(const std::function<void(unsigned)>& kill) override {
        if (mutation_ != Mutation::no_sentence) return delegate_.attend(kill);
        const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
        for (unsigned worker = 0; worker < state_.workers(); ++worker) {
            const auto stop_at = state_.slot(worker).stop_at_ns.load();
            const auto task = unfinished(worker);
            const bool condemned = task && task->status.state == prong::ring::TaskState::condemned;
            if (condemned || (stop_at != 0 && stop_at < now)) kill(worker);
        }
        return prong::detail::Deadline::after(1ms);
    }

    prong::proc::StopMode stop_mode() override { return delegate_.stop_mode(); }
    bool has_work() override { return delegate_.has_work(); }
    int work(unsigned worker) override { return delegate_.work(worker); }
    void starting(unsigned worker) override { delegate_.starting(worker); }
    void started(unsigned worker, pid_t pid) override { delegate_.started(worker, pid); }
    std::string reason_to_give_up() override { return delegate_.reason_to_give_up(); }
    unsigned starts() override { return delegate_.starts(); }
    std::string failure(unsigned worker) override { return delegate_.failure(worker); }
    void stopped(unsigned worker) override { delegate_.stopped(worker); }
    void continued(unsigned worker) override { delegate_.continued(worker); }
    void broke(const std::string& cause) override { delegate_.broke(cause); }

private:
    [[nodiscard]] std::optional<prong::ring::Claim> unfinished(unsigned worker) const {
        return prong::ring::unfinished(state_.records, static_cast<std::uint16_t>(worker),
                                       state_.slot(worker).intent);
    }

    SharedState& state_;
    Mutation mutation_;
    prong::executor::PoolDelegate delegate_;
    int last_exitcode_ = -SIGBUS;
};

/// How many violations are found in `rounds` of half a second at most, or until there is one.
std::size_t violations(Mutation mutation, int rounds, bool kills = true) {
    Findings findings;
    Tally tally;
    Random random(test_seed());
    for (int i = 0; i < rounds && findings.hold(); ++i) {
        const Round round{
            .seed = random(),
            .time = 500ms,
            .manner = {.kills = kills},
            .patience = mutation == Mutation::none ? 20s : 2s,
            .supervise = [mutation](SharedState& state, const SupervisorOptions& options,
                                    int parent_pidfd) {
                MutantDelegate delegate(state, options, mutation);
                return prong::proc::supervise(delegate, state.workers(),
                                              {.parent_pidfd = parent_pidfd, .bell = -1});
            }};
        tally += play(round, findings);
    }
    print("mutation " + std::to_string(static_cast<int>(mutation)), tally, findings);
    return findings.count();
}

constexpr int enough = 20;

} // namespace

TEST_CASE("a supervisor that does nothing wrong is found to be right") {
    CHECK(violations(Mutation::none, 3) == 0);
    CHECK(violations(Mutation::none, 1, false) == 0);
}

TEST_CASE("a supervisor that does not repair is caught") {
    CHECK(violations(Mutation::no_repair, enough) > 0);
}

TEST_CASE("a supervisor that calls a dead worker's task returned is caught") {
    CHECK(violations(Mutation::no_failure_report, enough) > 0);
}

TEST_CASE("a supervisor that reports a wrong exit of a worker is caught") {
    CHECK(violations(Mutation::wrong_exit, enough) > 0);
}

TEST_CASE("a supervisor that has a task run again that did not ask for it is caught") {
    CHECK(violations(Mutation::always_again, enough) > 0);
}

TEST_CASE("a supervisor that kills a worker without checking its task is caught") {
    CHECK(violations(Mutation::no_sentence, enough, false) > 0);
}

TEST_CASE("a supervisor that loses a task that is to be tried again is caught") {
    CHECK(violations(Mutation::lost_retry, enough) > 0);
}
