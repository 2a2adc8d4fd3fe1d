#pragma once

#include "manager/objects.hpp"

#include <prong/connection.hpp>

#include <string>

namespace prong::manager {

/// What the manager's process does: listens, reports the address to the creator, or what went
/// wrong, and serves clients until it is killed.
void serve(Connection creator, const detail::ManagerAddress& address);

/// For the creator: waits for that report. Throws what went wrong.
std::string receive_address(Connection& server);

/// Serves one client until it closes its connection or breaks the protocol.
void serve_client(Objects& objects, Connection connection);

} // namespace prong::manager
