#include <prong/detail/names.hpp>

#include "diag/symbols.hpp"
#include "os/fork_safe_mutex.hpp"
#include "os/modules.hpp"

#include <boost/core/demangle.hpp>

#include <array>
#include <mutex>
#include <sstream>
#include <string_view>
#include <unordered_map>
#include <utility>

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

/// Removes namespaces of the implementation and default template arguments.
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
    std::string name = diag::function_at(address);
    if (!name.empty()) return tidy(std::move(name));
    std::ostringstream text;
    text << "a function at " << address;
    return text.str();
}

/// The names that were looked up.
struct KnownNames {
    std::unordered_map<const void*, std::string> by_address;
    std::uint64_t unloads = 0; ///< after an unload, other functions may have these addresses
};

// Never destroyed: other static objects may still need them.
constinit os::ForkSafeMutex names_mutex;
constinit KnownNames* known_names = nullptr;

} // namespace

std::string type_name(const std::type_info& type) {
    return tidy(boost::core::demangle(type.name()));
}

std::string function_name(const void* address) {
    const bool is_half_written = names_mutex.lock();
    const std::lock_guard lock(names_mutex, std::adopt_lock);
    if (known_names == nullptr || is_half_written) known_names = new KnownNames;
    auto& [names, unloads] = *known_names;
    const std::uint64_t seen = std::exchange(unloads, os::unloaded_modules());
    if (unloads != seen) names.clear();
    const auto known = names.find(address);
    if (known != names.end()) return known->second;
    return names.emplace(address, look_up_function(address)).first->second;
}

} // namespace prong::detail
