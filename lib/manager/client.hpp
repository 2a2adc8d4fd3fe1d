#pragma once

#include <prong/detail/served_object.hpp>

#include <cstddef>
#include <span>

/// Connections of this process to managers.
namespace prong::manager {

/// Checks that the manager can be reached and is of the same program. Throws what `Client` throws,
/// and `Error` for another program.
void connect(const detail::ManagerAddress& manager);

/// Closes the connections to the manager that are not in use.
void forget(const detail::ManagerAddress& manager) noexcept;

/// Throws what the call has thrown that this is the reply to; `CodecError` if it is none.
void require_success(std::span<const std::byte> reply);

} // namespace prong::manager
