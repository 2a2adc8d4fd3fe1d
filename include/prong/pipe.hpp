#pragma once

#include <prong/connection.hpp>
#include <prong/detail/export.hpp>

#include <utility>

/// \file
/// Connects two processes of one family.

namespace prong {

/// Returns two connected ends: `auto [a, b] = prong::Pipe();`. With `duplex` both send and receive;
/// without, the first only receives and the second only sends. *Default:* duplex. *Throws*
/// `std::system_error`. Thread safety: any thread.
PRONG_API std::pair<Connection, Connection> Pipe(bool duplex = true);

} // namespace prong
