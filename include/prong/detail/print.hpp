#pragma once

#include <concepts>
#include <iosfwd>
#include <string_view>
#include <type_traits>

namespace prong {

/// Prints an enumerator of prong's by its name, as `to_string` gives it.
template <typename Enum>
    requires std::is_enum_v<Enum> && requires(Enum value) {
        { to_string(value) } -> std::same_as<std::string_view>;
    }
std::ostream& operator<<(std::ostream& stream, Enum value) {
    return stream << to_string(value);
}

} // namespace prong
