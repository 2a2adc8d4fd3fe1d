#pragma once

#include "os/descriptor.hpp"

#include <prong/inherit.hpp>

#include <cstddef>
#include <vector>

/// Converts `prong::Inherit` to the terms of lib/os.
namespace prong::proc {

inline constexpr std::size_t most_kept = 250;

[[nodiscard]] inline os::Inherited inherited_by(const Inherit& inherit) {
    return inherit.kind() == Inherit::all_but_network ? os::Inherited::all_but_network
                                                      : os::Inherited::listed;
}

/// Returns the listed descriptors. Throws `std::invalid_argument` if they are too many or not open.
const std::vector<int>& checked_descriptors(const Inherit& inherit);

} // namespace prong::proc
