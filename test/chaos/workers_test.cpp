// Signals come to the workers of pools at random instants, while tasks of all kinds run, are
// cancelled, killed, timed out and tried again. PRONG_CHAOS_SECONDS=600 PRONG_TEST_DEADLINE_S=0
// does that for ten minutes.

#include "chaos/round.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <iostream>
#include <string>

using namespace prong::test;

namespace {

/// Runs rounds for `time`.
void play_for(const std::string& what, std::chrono::milliseconds time, Adversary::Manner manner) {
    Findings findings;
    Tally tally;
    Random random(test_seed());
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until && findings.hold()) {
        manner.interval = std::chrono::microseconds(200 << random() % 8);
        const Round round{.seed = random(),
                          .time = std::chrono::milliseconds(up_to(random, 1000)),
                          .manner = manner};
        tally += play(round, findings);
    }
    print(what, tally, findings);
    CHECK(findings.text() == "");
    CHECK(tally.tasks > 0);
    CHECK(tally.signals > 0);
}

} // namespace

TEST_CASE("workers are killed, stopped and continued at random: every task ends as it may") {
    play_for("workers killed and stopped", chaos_time(4s, 120s), {});
}

TEST_CASE("workers are stopped and continued at random: no task dies of that") {
    play_for("workers stopped", chaos_time(2s, 60s), {.kills = false});
}
