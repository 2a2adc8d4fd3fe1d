#pragma once

#include <prong/detail/export.hpp>

#include <cstddef>
#include <cstdint>

namespace prong::detail {

/// Where a function or constant is, in terms that all executions of the same program share: each
/// loads its modules at other addresses.
struct CodePlace {
    static constexpr std::uint64_t program = 0; ///< the module that is the program itself
    static constexpr std::uint64_t none = 1;    ///< in no module, such as generated code

    std::uint64_t module; ///< identifies a shared object by its build id and layout
    std::uint64_t offset; ///< in the module; the address itself if no module contains it
};

/// Returns where the address is. Takes no lock (glibc 2.35 and later).
PRONG_API CodePlace place_of(const void* address) noexcept;

/// Returns the address of `size` bytes at this place; null if this process has no such module, or
/// if they are not in it.
PRONG_API const void* at_place(const CodePlace& place, std::size_t size) noexcept;

} // namespace prong::detail
