#pragma once

#include <string>

namespace prong::diag {

/// Returns how a process ended, as text that follows its name: "exited with code 3", "died of
/// SIGSEGV (exit code -11)".
std::string exit_text(int exitcode);

} // namespace prong::diag
