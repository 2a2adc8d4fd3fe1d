#include "manager/greeting.hpp"

#include "os/modules.hpp"

#include <prong/error.hpp>

#include <string>
#include <string_view>

namespace prong::manager {
namespace {

std::string hexadecimal(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        text += {digits[byte / 16], digits[byte % 16]};
    }
    return text;
}

} // namespace

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
                                  hexadecimal(theirs) + ", the manager's is " + hexadecimal(ours));
    return is_same;
}

} // namespace prong::manager
