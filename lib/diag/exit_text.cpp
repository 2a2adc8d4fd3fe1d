#include "diag/exit_text.hpp"

#include <cstring>

namespace prong::diag {

std::string exit_text(int exitcode) {
    const std::string code = std::to_string(exitcode);
    if (exitcode >= 0) return "exited with code " + code;
    const char* const name = sigabbrev_np(-exitcode);
    const std::string signal = name != nullptr ? "SIG" + std::string(name) : "a signal";
    return "died of " + signal + " (exit code " + code + ")";
}

} // namespace prong::diag
