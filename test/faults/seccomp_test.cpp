// Independent of the interposed calls: the kernel itself forbids a system call to the whole
// program, as old container profiles do.

#include "faults/run.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"
#include "support/seccomp.hpp"

#include <sys/syscall.h>

#include <cerrno>
#include <iostream>
#include <limits>
#include <stdexcept>

using namespace prong::test;

namespace {

struct Forbidden {
    unsigned number;
    Call call; ///< the name that an error of prong has for it
    Demand demand;
};

constexpr Forbidden all[] = {
    {SYS_pidfd_open, Call::pidfd_open, Demand::may_fail},
    {SYS_pidfd_send_signal, Call::pidfd_send_signal, Demand::works},
    {SYS_memfd_create, Call::memfd_create, Demand::may_fail},
    {SYS_futex_waitv, Call::futex_waitv, Demand::works},
    {SYS_close_range, Call::close, Demand::works},
    {SYS_eventfd2, Call::eventfd, Demand::may_fail},
    {SYS_signalfd4, Call::signalfd, Demand::may_fail},
    {SYS_setpgid, Call::setpgid, Demand::works},
    {SYS_mremap, Call::mremap, Demand::may_fail},
    {SYS_munlock, Call::munlock, Demand::works},
    {SYS_madvise, Call::madvise, Demand::works},
    {SYS_sched_setaffinity, Call::sched_setaffinity, Demand::works},
    {SYS_socket, Call::socket, Demand::works},
    {SYS_getitimer, Call::getitimer, Demand::works},
    {SYS_getrandom, Call::getrandom, Demand::works},
    {SYS_sched_getaffinity, Call::sched_getaffinity, Demand::works},
    {SYS_prlimit64, Call::setrlimit, Demand::works},
    {SYS_socketpair, Call::socketpair, Demand::may_fail},
    {SYS_waitid, Call::waitid, Demand::may_fail},
};

/// A fault that the harness does not cause, to say how the error should look.
Plan plan_of(const Scenario& scenario, Call call, int error) {
    return {.role = scenario.first_child == Role::child ? Role::child : Role::parent,
            .call = call,
            .nth = std::numeric_limits<unsigned>::max(),
            .error = error,
            .times = Times::once};
}

} // namespace

TEST_CASE("where the kernel forbids a system call, prong works or says so") {
    int runs = 0;
    int calls = 0;
    int violations = 0;
    for (const Scenario& scenario : all_scenarios()) {
        if (scenario.name == "flood") continue;
        for (const Forbidden& forbidden : all) {
            // The sanitizer needs it to start a thread.
            if (address_sanitizer && forbidden.call == Call::sched_getaffinity) continue;
            const int only = ++calls % 2 == 0 ? ENOSYS : EPERM; // in the short form
            for (const int error : {ENOSYS, EPERM}) {
                if (!full_run() && error != only) continue;
                const Outcome outcome = run(scenario, plan_of(scenario, forbidden.call, error),
                                            demand_of(scenario, forbidden.call, forbidden.demand),
                                            20s, [&] { forbid(forbidden.number, error); });
                INFO(scenario.name << ", " << name_of(forbidden.call) << ", "
                                   << name_of_error(error) << "\n"
                                   << outcome.violations);
                CHECK(outcome.violations.empty());
                ++runs;
                violations += outcome.violations.empty() ? 0 : 1;
            }
        }
    }
    std::cerr << runs << " runs with a forbidden call, " << violations << " violations\n";
}

TEST_CASE("the filter forbids") {
    const Scenario& pool = all_scenarios().front();
    const Outcome outcome = run(pool, plan_of(pool, Call::pidfd_open, EPERM), Demand::works, 20s,
                                [] { forbid(SYS_pidfd_open, EPERM); });
    CHECK_THAT(outcome.violations, Catch::Matchers::Contains("make a pool: threw: pidfd_open"));
}
