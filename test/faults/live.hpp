#pragma once

#include "faults/judge.hpp"

#include <prong/process.hpp>

#include <string>

namespace prong::test {

/// Whether a child may have ended with an error in the middle of its work.
inline bool may_fail_in_child(const Judge& judge) {
    return judge.demand() == Demand::may_fail && board().plan.role == Role::child;
}

/// Starts, lets `use`, and joins.
template <typename Use>
void live(Judge& judge, Process& process, int exitcode, Use use) {
    if (!judge.attempt("start", [&] { process.start(); })) return;
    use();
    judge.attempt("join", [&] {
        process.join();
        const int got = process.exitcode().value();
        const bool not_collected =
            board().plan.call == Call::waitid && got == Process::unknown_exitcode;
        const bool met_fault = may_fail_in_child(judge) && got == 1;
        judge.require("exit code " + std::to_string(got),
                      got == exitcode || not_collected || met_fault);
    });
}

} // namespace prong::test
