#pragma once

#include <prong/connection.hpp>

#include <string>

/// What a client and a manager say first: that they are of the same program.
namespace prong::manager {

/// For a client: sends this program's build id and waits for the verdict. Throws `Error` if the
/// manager's program is another one.
void greet(Connection& connection, const std::string& address);

/// For a manager: receives a client's greeting and sends the verdict. Returns whether the client is
/// of this program.
bool receive_greeting(Connection& connection);

} // namespace prong::manager
