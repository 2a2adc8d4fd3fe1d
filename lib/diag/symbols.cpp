#include "diag/symbols.hpp"

#include "os/modules.hpp"

// The names come from libboost_stacktrace_backtrace, which also finds static functions.
#define BOOST_STACKTRACE_LINK

#include <boost/core/demangle.hpp>
#include <boost/stacktrace/frame.hpp>

#include <dlfcn.h>

namespace prong::diag {
namespace {

/// Whether Boost, which never looks again, takes the modules of now for others that this thread
/// once had.
bool is_out_of_date(const void* address) {
    thread_local const std::uint64_t unloads_at_first = os::unloaded_modules();
    return unloads_at_first != os::unloaded_modules() && !os::is_in_program(address);
}

} // namespace

std::string function_at(const void* address) {
    if (is_out_of_date(address)) {
        Dl_info info{};
        const bool has_name = dladdr(address, &info) != 0 && info.dli_sname != nullptr;
        return has_name ? boost::core::demangle(info.dli_sname) : std::string();
    }
    std::string name = boost::stacktrace::frame(address).name();
    // Without symbols some versions give the address itself, and some nothing.
    return name.starts_with("0x") ? std::string() : name;
}

SourceLine source_line_of(const void* address) {
    if (is_out_of_date(address)) return {};
    const boost::stacktrace::frame frame(address);
    const std::size_t line = frame.source_line();
    return {.file = line != 0 ? frame.source_file() : std::string(), .line = line};
}

} // namespace prong::diag
