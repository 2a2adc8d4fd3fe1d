#pragma once

#include <prong/detail/transferable.hpp>

#include <type_traits>

/// \file
/// Decides for every type whether processes may share values of it.

namespace prong::detail {

/// Compiles only if processes may share a `T` as it lies in memory; else the compiler says why not.
/// Returns true.
template <typename T>
consteval bool require_shareable() {
    if constexpr (std::is_trivially_copyable_v<T>) {
        static_cast<void>(require_transferable<T>());
    } else {
        static_assert(std::is_trivially_copyable_v<T>,
                      "prong: processes share values of trivially copyable types only, such as "
                      "numbers, enumerations and structs of them: pass a std::string, a container "
                      "or another class that owns memory through a Pipe instead");
    }
    return true;
}

} // namespace prong::detail
