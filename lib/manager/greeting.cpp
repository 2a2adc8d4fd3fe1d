#include "manager/greeting.hpp"

#include "base/hexadecimal.hpp"
#include "os/modules.hpp"

#include <prong/error.hpp>

#include <string>

namespace prong::manager {

void greet(Connection& connection, const std::string& address) {
    connection.send(os::program_build_id());
    const auto refusal = connection.recv<std::string>();
    if (!refusal.empty()) throw Error("prong::Manager: " + address + " refuses: " + refusal);
}

bool receive_greeting(Connection& connection) {
    const auto theirs = connection.recv<std::string>();
    const std::string ours = os::program_build_id();
    const bool is_same = theirs == ours;
    connection.send(is_same ? std::string()
                            : "the client is not of the same build of the same program: its build "
                              "id is " +
                                  base::hexadecimal(theirs) + ", the manager's is " +
                                  base::hexadecimal(ours));
    return is_same;
}

} // namespace prong::manager
