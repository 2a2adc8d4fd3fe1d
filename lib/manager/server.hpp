#pragma once

#include <prong/connection.hpp>
#include <prong/detail/served_object.hpp>

#include <map>
#include <string>

namespace prong::manager {

/// The names that programs have given to objects.
using Directory = std::map<std::string, std::uint64_t>;

/// What the manager's process does: listens, reports the address to the creator, or what went
/// wrong, and serves clients until it is killed.
void serve(Connection creator, const detail::ManagerAddress& address);

/// For the creator: waits for that report. Throws what went wrong.
std::string receive_address(Connection& server);

} // namespace prong::manager
