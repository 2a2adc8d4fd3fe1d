#pragma once

#include <string>
#include <string_view>

namespace prong::base {

/// Returns two digits for each byte.
[[nodiscard]] inline std::string hexadecimal(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += {digits[byte / 16], digits[byte % 16]};
    }
    return text;
}

} // namespace prong::base
