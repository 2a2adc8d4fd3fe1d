#include "ipc/address.hpp"

#include "base/errno.hpp"

#include <prong/error.hpp>

#include <netdb.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string_view>

namespace prong::ipc {
namespace {

constexpr socklen_t path_offset = offsetof(sockaddr_un, sun_path);

[[noreturn]] void refuse(const std::string& text, const std::string& reason) {
    throw std::invalid_argument("prong: \"" + text + "\" is no address: " + reason);
}

/// Of a file, or with an initial '@' of an abstract name, which a zero byte distinguishes.
Address local_address(const std::string& text) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (text == "@") refuse(text, "the name is missing");
    const bool is_abstract = text.front() == '@';
    const std::size_t length = is_abstract ? text.size() : text.size() + 1; // with the final zero
    if (length > sizeof(address.sun_path)) {
        refuse(text, "it is longer than the " + std::to_string(sizeof(address.sun_path) - 1) +
                         " bytes that a local socket can have");
    }
    std::memcpy(address.sun_path, text.c_str(), length);
    if (is_abstract) address.sun_path[0] = '\0';
    return {reinterpret_cast<const sockaddr*>(&address),
            path_offset + static_cast<socklen_t>(length)};
}

std::vector<Address> network_addresses(const std::string& text) {
    const auto colon = text.rfind(':');
    if (colon == text.npos) refuse(text, "expected host:port, /path of a file or @abstract name");
    std::string host = text.substr(0, colon);
    const std::string port = text.substr(colon + 1);
    const bool is_number = !port.empty() && port.find_first_not_of("0123456789") == port.npos;
    if (!is_number || port.size() > 5 || std::stoi(port) > 65535)
        refuse(text, "the port must be a number from 0 to 65535");
    if (host.starts_with('[') && host.ends_with(']')) {
        host = host.substr(1, host.size() - 2);
    } else if (host.find(':') != text.npos) {
        refuse(text, "an IPv6 address stands in brackets, as in [::1]:80");
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    addrinfo* first = nullptr;
    const int error =
        getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &first);
    if (error == EAI_SYSTEM) base::throw_errno("getaddrinfo");
    if (error != 0) throw Error("prong: the host of \"" + text + "\": " + gai_strerror(error));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(first, freeaddrinfo);
    std::vector<Address> addresses;
    for (const addrinfo* one = first; one != nullptr; one = one->ai_next)
        addresses.emplace_back(one->ai_addr, one->ai_addrlen);
    // Python's multiprocessing knows no others.
    std::ranges::stable_partition(addresses,
                                  [](const Address& one) { return one.family() == AF_INET; });
    return addresses;
}

} // namespace

Address::Address(const sockaddr* address, socklen_t length)
    : length_(std::min<socklen_t>(length, sizeof(storage_))) {
    std::memcpy(&storage_, address, length_);
}

Address Address::of(int socket) {
    Address address;
    if (getsockname(socket, reinterpret_cast<sockaddr*>(&address.storage_), &address.length_) != 0)
        base::throw_errno("getsockname");
    return address;
}

std::string Address::text() const {
    if (family() == AF_UNIX) {
        std::string path(reinterpret_cast<const char*>(&storage_) + path_offset,
                         length_ - path_offset);
        if (path.starts_with('\0')) {
            path.front() = '@';
        } else {
            path.resize(std::strlen(path.c_str())); // a zero byte ends it
        }
        return path;
    }
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    const int error = getnameinfo(data(), length_, host.data(), host.size(), port.data(),
                                  port.size(), NI_NUMERICHOST | NI_NUMERICSERV);
    if (error != 0) throw Error(std::string("prong: getnameinfo: ") + gai_strerror(error));
    const std::string name = host.data();
    return (family() == AF_INET6 ? "[" + name + "]" : name) + ":" + port.data();
}

std::vector<Address> resolve(const std::string& text) {
    if (text.find('\0') != text.npos) refuse(text, "it contains a zero byte");
    if (text.starts_with('/') || text.starts_with('@')) return {local_address(text)};
    return network_addresses(text);
}

} // namespace prong::ipc
