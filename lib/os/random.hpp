#pragma once

#include <cstddef>
#include <string>

namespace prong::os {

/// Returns random bytes for a secret, from the kernel's generator. Throws `std::system_error`.
std::string random_bytes(std::size_t count);

} // namespace prong::os
