#include "diag/symbols.hpp"

#include "os/modules.hpp"

#include <boost/core/demangle.hpp>

#include <dlfcn.h>

// With libboost_stacktrace_backtrace, names and lines come from the debugging information, and
// static functions have names, too.
#ifdef PRONG_STACKTRACE
#define BOOST_STACKTRACE_LINK
#include <boost/stacktrace/frame.hpp>
#endif

namespace prong::diag {
namespace {

/// Returns the name that the dynamic linker knows.
std::string exported_name_at(const void* address) {
    Dl_info info{};
    const bool has_name = dladdr(address, &info) != 0 && info.dli_sname != nullptr;
    return has_name ? boost::core::demangle(info.dli_sname) : std::string();
}

#ifdef PRONG_STACKTRACE
/// Returns whether Boost, which reads the list of modules once per thread, may take a module for
/// another one that was unloaded.
bool is_out_of_date(const void* address) {
    thread_local const std::uint64_t unloads_at_first = os::unloaded_modules();
    return unloads_at_first != os::unloaded_modules() && !os::is_in_program(address);
}
#endif

} // namespace

#ifdef PRONG_STACKTRACE

std::string function_at(const void* address) {
    if (is_out_of_date(address)) return exported_name_at(address);
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

#else

std::string function_at(const void* address) {
    return exported_name_at(address);
}

SourceLine source_line_of(const void* /*address*/) {
    return {};
}

#endif

} // namespace prong::diag
