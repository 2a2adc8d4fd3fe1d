#pragma once

#include <prong/detail/served_object.hpp>

/// Connections of this process to managers.
namespace prong::manager {

/// Checks that the manager can be reached and is of the same program. Throws what `Client` throws,
/// and `Error` for another program.
void connect(const detail::ManagerAddress& manager);

/// Closes the connections to the manager that are not in use.
void forget(const detail::ManagerAddress& manager) noexcept;

} // namespace prong::manager
