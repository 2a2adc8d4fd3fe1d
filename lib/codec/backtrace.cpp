// The names come from libboost_stacktrace_backtrace, which also finds static functions.
#define BOOST_STACKTRACE_LINK

#include <prong/error.hpp>

#include <boost/stacktrace/frame.hpp>

#include <dlfcn.h>

#include <sstream>

namespace prong {
namespace {

std::string text_of(const std::vector<const void*>& frames) {
    std::ostringstream text;
    for (std::size_t i = 0; i < frames.size(); ++i) {
        text << "#" << i << " ";
        Dl_info module{};
        // A module that only the worker has loaded is not known here.
        if (dladdr(frames[i], &module) == 0) {
            text << frames[i] << " in a module that this process has not loaded\n";
            continue;
        }
        // All but the innermost are return addresses, which may lie beyond the calling line.
        const auto* const address = static_cast<const char*>(frames[i]) - (i == 0 ? 0 : 1);
        const boost::stacktrace::frame frame(address);
        const std::string name = frame.name();
        text << (name.empty() ? "??" : name);
        if (frame.source_line() != 0) {
            text << " at " << frame.source_file() << ":" << frame.source_line();
        } else {
            text << " in " << module.dli_fname;
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
