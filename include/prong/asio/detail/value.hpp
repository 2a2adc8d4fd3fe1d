#pragma once

#include <optional>
#include <type_traits>

namespace prong {

/// What a handler gets beside the exception: `R`, or `std::optional<R>` if `R` has no default
/// constructor. After an exception it is value-initialised.
template <typename R>
using async_value_t = std::conditional_t<std::is_default_constructible_v<R>, R, std::optional<R>>;

} // namespace prong
