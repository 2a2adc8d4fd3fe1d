// Chaos must notice when a pool is wrong: here its supervisor does one thing wrong on purpose, over
// the same shared memory.

#include "chaos/round.hpp"
#include "pool/crew.hpp"
#include "proc/supervisor.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <functional>
#include <string>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::pool::CrewOptions;
using prong::pool::SharedState;

namespace {

enum class Mistake {
    none,
    no_repair,    ///< dead workers are replaced, no more
    no_obituary,  ///< a dead worker's task is said to have returned
    wrong_exit,   ///< the exit code is another worker's
    always_again, ///< every task is tried again, wanted or not
    no_sentence,  ///< whose time is over is killed, without a look at what it does by then
    lost_retry,   ///< a task that is to be tried again is forgotten
};

/// The pool's crew, but for the mistake.
class WrongCrew final : public prong::proc::Crew {
public:
    WrongCrew(SharedState& state, const CrewOptions& options, Mistake mistake)
        : state_(state), mistake_(mistake), crew_(state, options) {}

    bool ended(unsigned worker, prong::os::ProcessExit exit) override {
        const auto task = unfinished(worker);
        if (mistake_ == Mistake::no_repair && task) return true;
        if (mistake_ == Mistake::no_obituary && task) {
            const auto after = prong::ring::bury(*task, prong::ring::TaskState::returned);
            state_.announce(*task->record, after.flags);
        }
        if (mistake_ == Mistake::always_again && task)
            prong::ring::requeue(*task, state_.slot(worker).note);
        if (mistake_ == Mistake::wrong_exit && exit.exitcode < 0)
            std::swap(exit.exitcode, last_exitcode_);
        const bool started = crew_.ended(worker, exit);
        if (mistake_ == Mistake::lost_retry) state_.slot(worker).note.retry = 0;
        return started;
    }
    prong::base::Deadline attend(const std::function<void(unsigned)>& kill) override {
        if (mistake_ != Mistake::no_sentence) return crew_.attend(kill);
        const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
        for (unsigned worker = 0; worker < state_.workers(); ++worker) {
            const auto stop_at = state_.slot(worker).stop_at_ns.load();
            const auto task = unfinished(worker);
            const bool condemned = task && task->status.state == prong::ring::TaskState::condemned;
            if (condemned || (stop_at != 0 && stop_at < now)) kill(worker);
        }
        return prong::base::Deadline::after(1ms);
    }

    Wish wish() override { return crew_.wish(); }
    bool has_work() override { return crew_.has_work(); }
    int work(unsigned worker) override { return crew_.work(worker); }
    void starting(unsigned worker) override { crew_.starting(worker); }
    void started(unsigned worker, pid_t pid) override { crew_.started(worker, pid); }
    std::string reason_to_give_up() override { return crew_.reason_to_give_up(); }
    unsigned starts() override { return crew_.starts(); }
    std::string failure(unsigned worker) override { return crew_.failure(worker); }
    void stopped(unsigned worker) override { crew_.stopped(worker); }
    void continued(unsigned worker) override { crew_.continued(worker); }
    void broke(const std::string& cause) override { crew_.broke(cause); }

private:
    [[nodiscard]] std::optional<prong::ring::Claim> unfinished(unsigned worker) const {
        return prong::ring::unfinished(state_.records, static_cast<std::uint16_t>(worker),
                                       state_.slot(worker).note);
    }

    SharedState& state_;
    Mistake mistake_;
    prong::pool::PoolCrew crew_;
    int last_exitcode_ = -SIGBUS;
};

/// How many violations are found in `rounds` of half a second at most, or until there is one.
std::size_t violations(Mistake mistake, int rounds, bool kills = true) {
    Findings findings;
    Tally tally;
    Random random(test_seed());
    for (int i = 0; i < rounds && findings.hold(); ++i) {
        const Round round{.seed = random(),
                          .time = 500ms,
                          .manner = {.kills = kills},
                          .patience = mistake == Mistake::none ? 20s : 2s,
                          .supervise = [mistake](SharedState& state, const CrewOptions& options,
                                                 int parent_pidfd) {
                              WrongCrew crew(state, options, mistake);
                              return prong::proc::supervise(
                                  crew, state.workers(),
                                  {.parent_pidfd = parent_pidfd, .bell = -1});
                          }};
        tally += play(round, findings);
    }
    tell("mistake " + std::to_string(static_cast<int>(mistake)), tally, findings);
    return findings.count();
}

constexpr int enough = 20;

} // namespace

TEST_CASE("a supervisor that does nothing wrong is found to be right") {
    CHECK(violations(Mistake::none, 3) == 0);
    CHECK(violations(Mistake::none, 1, false) == 0);
}

TEST_CASE("a supervisor that does not repair is caught") {
    CHECK(violations(Mistake::no_repair, enough) > 0);
}

TEST_CASE("a supervisor that calls a dead worker's task returned is caught") {
    CHECK(violations(Mistake::no_obituary, enough) > 0);
}

TEST_CASE("a supervisor that tells of another end than the worker's is caught") {
    CHECK(violations(Mistake::wrong_exit, enough) > 0);
}

TEST_CASE("a supervisor that has a task run again that did not ask for it is caught") {
    CHECK(violations(Mistake::always_again, enough) > 0);
}

TEST_CASE("a supervisor that kills a worker whatever it does by then is caught") {
    CHECK(violations(Mistake::no_sentence, enough, false) > 0);
}

TEST_CASE("a supervisor that forgets a task that is to be tried again is caught") {
    CHECK(violations(Mistake::lost_retry, enough) > 0);
}
