#pragma once

#include <functional>
#include <string>

/// Servers that answer each connection once, and end it.
namespace bench {

inline const std::string fork_per_connection = "fork per connection";
inline const std::string in_one_process = "in one process";

/// Serves until the process is killed. Calls `listening` with its port when clients may connect.
using Server = void(const std::function<void(unsigned short port)>& listening);

Server serve_with_prong;
Server serve_with_forks;
Server serve_in_one_process;

} // namespace bench
