// Every failing system call: each call that prong makes fails in each process, with each plausible
// error, the first time, the second time, and so on. Whatever happens, the program either works or
// gets an error that says what happened; it never hangs, crashes, gets a wrong result or leaves
// something behind.
//
// PRONG_FAULT=pool:supervisor:fork:3:EAGAIN:once repeats one run: scenario, process, call, the
// which of them, error, how often. PRONG_FAULT=pool runs all of one scenario.

#include "faults/run.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <cerrno>
#include <cstdlib>
#include <iostream>
#include <random>
#include <ranges>
#include <string>
#include <vector>

using namespace prong::test;

namespace {

struct Run {
    const Scenario* scenario;
    Plan plan;
    Demand demand;
};

std::string to_string(const Run& run) {
    return std::string(run.scenario->name) + ":" + to_string(run.plan);
}

/// Runs, counts and prints.
class Tally {
public:
    /// Whether the fault happened.
    bool run(const Run& run) {
        const Outcome outcome = prong::test::run(*run.scenario, run.plan, run.demand);
        injected_ += outcome.injected > 0 ? 1 : 0;
        if (outcome.violations.empty()) return outcome.injected > 0;
        ++violations_;
        std::cerr << "VIOLATION, repeat with PRONG_FAULT=" << to_string(run) << "\n"
                  << outcome.violations << std::flush;
        return outcome.injected > 0;
    }

    [[nodiscard]] bool enough() const { return violations_ >= 20; }
    [[nodiscard]] int violations() const { return violations_; }
    [[nodiscard]] int injected() const { return injected_; }
    void print() const {
        std::cerr << injected_ << " faults injected, " << violations_ << " violations\n";
    }

private:
    int injected_ = 0;
    int violations_ = 0;
};

bool is_about(const Scenario& scenario, Call call) {
    return full_run() || scenario.calls.empty() ||
           std::ranges::find(scenario.calls, call) != scenario.calls.end();
}

/// How often each process of the scenario makes a call when nothing fails.
unsigned usual_calls(Role role, Call call) {
    return board().calls[static_cast<std::size_t>(role)][static_cast<std::size_t>(call)];
}

/// Calls `visit(run, usual)` with the first call of each kind as what fails.
template <typename Visit>
void for_each_kind(const Scenario& scenario, Visit visit) {
    INFO(scenario.name);
    REQUIRE(run(scenario, std::nullopt, Demand::works).violations == "");
    std::vector<std::pair<Run, unsigned>> kinds;
    for (const Fault& fault : all_faults()) {
        if (!is_about(scenario, fault.call)) continue;
        for (const Role role : fault.roles) {
            const unsigned usual = usual_calls(role, fault.call);
            if (usual == 0) continue;
            for (const int error : fault.errors) {
                const Plan plan{role, fault.call, 1, error, Times::once};
                const auto demand = [&](Demand usual_demand) {
                    return demand_of(scenario, fault.call, usual_demand);
                };
                kinds.push_back({{&scenario, plan, demand(fault.once)}, usual});
                Plan later = plan;
                later.times = fault.times;
                kinds.push_back({{&scenario, later, demand(fault.later)}, usual});
            }
        }
    }
    for (const auto& [run, usual] : kinds) visit(run, usual);
}

/// Tries every call of each kind.
void run_all(const Scenario& scenario, Tally& tally) {
    for_each_kind(scenario, [&](Run run, unsigned usual) {
        // Numbers of calls vary from run to run: some more tries beyond the usual one.
        while (!tally.enough() && (tally.run(run) || run.plan.nth <= usual)) ++run.plan.nth;
    });
}

/// Tries a tenth of the first calls of each kind (with AddressSanitizer a fortieth), and some of
/// the others, at random.
void run_some(Tally& tally) {
    std::vector<Run> firsts;
    std::vector<Run> others;
    for (const Scenario& scenario : all_scenarios()) {
        for_each_kind(scenario, [&](const Run& run, unsigned usual) {
            firsts.push_back(run);
            for (unsigned nth = 2; nth <= usual; ++nth) {
                others.push_back(run);
                others.back().plan.nth = nth;
            }
        });
    }
    std::mt19937_64 random(test_seed());
    const auto try_some = [&](std::vector<Run>& runs, std::size_t count) {
        std::ranges::shuffle(runs, random);
        for (const Run& run : runs | std::views::take(count)) {
            if (!tally.enough()) tally.run(run);
        }
    };
    try_some(firsts, firsts.size() / (address_sanitizer ? 40 : 10));
    try_some(others, static_cast<std::size_t>(how_often(30, 150)));
}

Run run_of(const std::string& text) {
    const std::size_t colon = text.find(':');
    const auto plan = parse_plan(text.substr(std::min(colon, text.size() - 1) + 1));
    for (const Scenario& scenario : all_scenarios()) {
        if (!plan || scenario.name != text.substr(0, colon)) continue;
        for (const Fault& fault : all_faults()) {
            const bool fits = fault.call == plan->call &&
                              std::ranges::find(fault.roles, plan->role) != fault.roles.end() &&
                              std::ranges::find(fault.errors, plan->error) != fault.errors.end();
            if (!fits) continue;
            const Demand usual = plan->times == Times::once ? fault.once : fault.later;
            return {&scenario, *plan, demand_of(scenario, fault.call, usual)};
        }
    }
    throw std::invalid_argument("no such fault: " + text);
}

const Scenario& bad_scenario(std::string_view name) {
    return *std::ranges::find(bad_scenarios(), name, &Scenario::name);
}

} // namespace

TEST_CASE("if any system call fails, prong works or says what happened") {
    Tally tally;
    if (const char* const text = std::getenv("PRONG_FAULT")) {
        const auto scenario = std::ranges::find(all_scenarios(), text, &Scenario::name);
        if (scenario == all_scenarios().end()) {
            tally.run(run_of(text));
        } else {
            run_all(*scenario, tally);
        }
    } else if (full_run()) {
        for (const Scenario& scenario : all_scenarios()) run_all(scenario, tally);
    } else {
        run_some(tally);
    }
    tally.print();
    CHECK(tally.injected() > 0);
    CHECK(tally.violations() == 0);
}

TEST_CASE("a task that is to be tried again does not wait for a fork that fails for ever") {
    Tally tally;
    tally.run(run_of("options:supervisor:fork:4:EAGAIN:always"));
    tally.print();
    CHECK(tally.injected() > 0);
    CHECK(tally.violations() == 0);
}

TEST_CASE("every call of the list is made by some process of some scenario") {
    std::array<unsigned, call_count> made{};
    for (const Scenario& scenario : all_scenarios()) {
        REQUIRE(run(scenario, std::nullopt, Demand::works).violations == "");
        for (const auto& row : board().calls) {
            for (std::size_t i = 0; i < call_count; ++i) made[i] += row[i];
        }
    }
    for (std::size_t i = 0; i < call_count; ++i) {
        INFO(name_of(static_cast<Call>(i)));
        CHECK(made[i] > 0);
    }
}

TEST_CASE("the harness finds what a program does wrong when a call fails") {
    const Plan no_supervisor{Role::parent, Call::fork, 1, EAGAIN, Times::always};
    const Plan no_workers{Role::supervisor, Call::fork, 1, EAGAIN, Times::always};
    const auto [name, plan, finding] = GENERATE_COPY(table<const char*, Plan, const char*>({
        {"lose_a_task", no_workers, "get: wrong result"},
        {"hang", no_supervisor, "hangs: "},
        {"crash", no_supervisor, "died of signal 6"},
        {"throw_nonsense", no_supervisor, "something went wrong"},
        {"leave_descriptor", no_supervisor, "left behind: descriptor"},
        {"leave_mapping", no_supervisor, "left behind: mapping"},
        {"leave_process", no_supervisor, "left behind: "},
        {"leave_zombie", no_supervisor, "left behind: zombie"},
    }));
    INFO(name);
    const auto limit = std::string_view(name) == "hang" ? 2s : 20s;
    const Outcome outcome = run(bad_scenario(name), plan, Demand::may_fail, limit);
    CHECK(outcome.injected > 0);
    CHECK_THAT(outcome.violations, Catch::Matchers::Contains(finding));
    CHECK(run(bad_scenario(name), std::nullopt, Demand::works).violations.empty());
}

TEST_CASE("the harness finds a supervisor that takes a failed fork for a worker") {
    const Plan plan{Role::supervisor, Call::fork, 1, lost, Times::always};
    const Outcome outcome = run(all_scenarios().front(), plan, Demand::may_fail, 2s);
    CHECK_THAT(outcome.violations, Catch::Matchers::Contains("hangs: "));
}

TEST_CASE("the harness finds an error where the program should work") {
    const Plan plan{Role::parent, Call::fork, 1, EAGAIN, Times::once};
    const Outcome outcome = run(all_scenarios().front(), plan, Demand::works);
    CHECK_THAT(outcome.violations, Catch::Matchers::Contains("make a pool: threw: fork"));
}

TEST_CASE("a fault's text gives the same fault back") {
    for (const char* const text : {"supervisor:fork:3:EAGAIN:once", "child:recv:1:partial:always",
                                   "worker:futex_wait:12:spurious:alternately"}) {
        CHECK(to_string(parse_plan(text).value()) == text);
    }
    for (const char* const text : {"", "supervisor:fork:3:EAGAIN", "boss:fork:3:EAGAIN:once",
                                   "worker:fork:0:EAGAIN:once", "worker:fork:1:EFUN:once"}) {
        CHECK_FALSE(parse_plan(text));
    }
}
