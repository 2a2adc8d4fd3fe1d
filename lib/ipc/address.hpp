#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

namespace prong::ipc {

/// The address of a stream socket.
class Address {
public:
    Address(const sockaddr* address, socklen_t length);

    /// Returns the address that a socket is bound to. Throws `std::system_error`.
    static Address of(int socket);

    [[nodiscard]] int family() const { return storage_.ss_family; }
    [[nodiscard]] const sockaddr* data() const {
        return reinterpret_cast<const sockaddr*>(&storage_);
    }
    [[nodiscard]] socklen_t length() const { return length_; }

    /// Returns "127.0.0.1:80", "[::1]:80", "/path" or "@name".
    [[nodiscard]] std::string text() const;

private:
    Address() = default;

    sockaddr_storage storage_{};
    socklen_t length_ = sizeof(storage_);
};

/// Converts "host:port", "[IPv6]:port", "/path" or "@name" to what they stand for, IPv4 addresses
/// first; an empty host is every address of this machine. Never returns nothing. Throws
/// `std::invalid_argument` for another text, `Error` for a host that is unknown.
std::vector<Address> resolve(const std::string& text);

} // namespace prong::ipc
