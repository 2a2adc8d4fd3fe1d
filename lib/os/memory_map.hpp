#pragma once

#include <cstdint>

namespace prong::os {

/// Returns whether memory of this process is mapped at the address.
[[nodiscard]] bool is_mapped(std::uintptr_t address) noexcept;

} // namespace prong::os
