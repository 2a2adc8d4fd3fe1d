#pragma once

#include <prong/detail/export.hpp>

#include <string>
#include <typeinfo>

namespace prong::detail {

/// The type's name as a programmer would write it, such as `std::vector<std::string>`.
/// Thread safety: any.
[[nodiscard]] PRONG_API std::string type_name(const std::type_info& type);

/// What the function at this address is called, such as `parse(std::string)`; "a function at 0x…"
/// if the program has been stripped of its symbols. The first call for a function may take a
/// while, because it reads the program's debugging information. Thread safety: any.
[[nodiscard]] PRONG_API std::string function_name(const void* address);

} // namespace prong::detail
