#pragma once

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>

namespace prong::executor {

/// Returns the option's value, or `otherwise` if it is not set. Throws `std::invalid_argument` if
/// it is 0; `name` is its full name.
inline std::size_t at_least_one(const std::optional<std::size_t>& option, const char* name,
                                std::size_t otherwise) {
    if (option && *option == 0) {
        throw std::invalid_argument(std::string(name) + " must be at least 1");
    }
    return option.value_or(otherwise);
}

} // namespace prong::executor
