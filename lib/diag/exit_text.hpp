#pragma once

#include <string>

namespace prong::diag {

/// How a process ended, in words that follow its name: "exited with code 3", "died of SIGSEGV (exit
/// code -11)".
std::string exit_text(int exitcode);

} // namespace prong::diag
