// One scenario as a program, for strace_check: program SCENARIO works|may_fail FAULT.
// The fault only says how an error should look; strace makes the call fail. Exit code 0 if the
// scenario does as it should.

#include "faults/scenarios.hpp"

#include <unistd.h>

#include <iostream>
#include <string_view>
#include <vector>

using namespace prong::test;

int main(int argc, char** argv) {
    const std::vector<std::string_view> arguments(argv + 1, argv + argc);
    if (arguments.size() != 3) return 2;
    for (const Scenario& scenario : all_scenarios()) {
        if (scenario.name != arguments[0]) continue;
        clear_board(parse_plan(arguments[2]));
        Judge judge(arguments[1] == "works" ? Demand::works : Demand::may_fail);
        const Shared<Gate> gate;
        scenario.run(judge, gate);
        std::cerr << findings();
        _exit(findings().empty() ? 0 : 1); // no leak sanitizer: strace is in its way
    }
    return 2;
}
