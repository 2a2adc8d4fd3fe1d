#pragma once

#include "suite.hpp"

#include <functional>
#include <string>
#include <vector>

namespace bench {

/// Runs `body` in a forked process, so that the memory, the threads and the mishaps of one
/// measurement do not weigh on the next: a fork costs in proportion to the memory in use. `body`
/// writes "metric,value" lines into the descriptor that it is given. Throws if it fails or does not
/// end within two minutes.
Figures isolated(const std::function<void(int output)>& body);

/// The same for a body that returns its figures.
Figures isolated_figures(const std::function<Figures()>& body);

/// Runs a Python script, which prints such lines, in a separate interpreter. No figures if `script`
/// is empty.
Figures run_python(const std::string& script, std::vector<std::string> arguments);

} // namespace bench
