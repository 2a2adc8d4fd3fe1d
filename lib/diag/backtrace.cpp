#include <prong/error.hpp>

#include "diag/symbols.hpp"

#include <dlfcn.h>

#include <sstream>

namespace prong {
namespace {

std::string text_of(const std::vector<const void*>& frames) {
    std::ostringstream text;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        text << "#" << i << " ";
        Dl_info module{};
        // A module that only the worker has loaded.
        if (dladdr(frames[i], &module) == 0) {
            text << frames[i] << " in a module that this process has not loaded\n";
            continue;
        }
        // All frames but the innermost are return addresses, which may lie beyond the calling line.
        const auto* const address = static_cast<const char*>(frames[i]) - (i == 0 ? 0 : 1);
        const std::string name = diag::function_at(address);
        text << (name.empty() ? "??" : name);
        const auto [file, line] = diag::source_line_of(address);
        if (line != 0) {
            text << " at " << file << ":" << line;
        } else {
            // As addr2line takes it.
            text << " in " << module.dli_fname << "+0x" << std::hex
                 << address - static_cast<const char*>(module.dli_fbase) << std::dec;
        }
        text << "\n";
    }
    return text.str();
}

} // namespace

std::string WorkerDied::backtrace() const {
    return text_of(death_.frames);
}

std::string PoisonedTask::backtrace() const {
    return text_of(deaths_.back().frames);
}

} // namespace prong
