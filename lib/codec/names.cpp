#include <prong/detail/names.hpp>

#include "os/process.hpp"

// The names come from libboost_stacktrace_backtrace, which also finds static functions.
#define BOOST_STACKTRACE_LINK

#include <boost/core/demangle.hpp>
#include <boost/stacktrace/frame.hpp>

#include <array>
#include <mutex>
#include <sstream>
#include <string_view>
#include <unordered_map>

namespace prong::detail {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
        text.replace(at, from.size(), to);
}

/// Removes every template argument that begins with `start`, which ends in '<'.
void remove_argument(std::string& text, std::string_view start) {
    for (auto at = text.find(start); at != std::string::npos; at = text.find(start, at)) {
        std::size_t end = at + start.size();
        for (int depth = 1; depth != 0 && end < text.size(); ++end)
            depth += text[end] == '<' ? 1 : text[end] == '>' ? -1 : 0;
        text.erase(at, end - at);
    }
}

/// Takes out what the programmer left to the defaults.
std::string tidy(std::string name) {
    for (const std::string_view internal : {"::__cxx11::", "::__1::"})
        replace_all(name, internal, "::");
    replace_all(name, "[abi:cxx11]", "");
    replace_all(name, ", 18446744073709551615ul", ""); // std::dynamic_extent
    for (const std::string_view argument :
         {", std::char_traits<", ", std::allocator<", ", std::default_delete<", ", std::less<",
          ", std::hash<", ", std::equal_to<"})
        remove_argument(name, argument);
    replace_all(name, " >", ">");
    replace_all(name, "std::basic_string<char>", "std::string");
    replace_all(name, "std::basic_string_view<char>", "std::string_view");
    replace_all(name, "(anonymous namespace)::", "");
    return name;
}

std::string look_up_function(const void* address) {
    std::string name = boost::stacktrace::frame(address).name();
    // Without symbols some versions give the address itself, and some nothing.
    if (!name.empty() && !name.starts_with("0x")) return tidy(std::move(name));
    std::ostringstream text;
    text << "a function at " << address;
    return text.str();
}

} // namespace

std::string type_name(const std::type_info& type) {
    return tidy(boost::core::demangle(type.name()));
}

// To look a name up takes each thread some tenths of a second the first time, and memory that it
// never gives back: Boost reads the debugging information for every thread anew.
std::string function_name(const void* address) {
    static std::mutex mutex;
    static std::unordered_map<const void*, std::string> names;
    // A fork while another thread held the lock has left it locked in the child.
    std::unique_lock lock(mutex, std::defer_lock);
    if (os::fork_depth() == 0) lock.lock();
    if (!lock && !lock.try_lock()) return look_up_function(address);
    const auto known = names.find(address);
    if (known != names.end()) return known->second;
    return names.emplace(address, look_up_function(address)).first->second;
}

} // namespace prong::detail
