#include "os/doorbell.hpp"

#include "base/errno.hpp"
#include "os/descriptor.hpp"
#include "os/seed.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <utility>

namespace prong::os {
namespace {

constexpr std::string_view prefix{"\0prong-", 7};

template <std::size_t Size>
sockaddr_un address_of(const std::array<char, Size>& name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::ranges::copy(name, address.sun_path);
    return address;
}

base::UniqueFd open_socket() {
    return base::UniqueFd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

} // namespace

Doorbell Doorbell::unique() noexcept {
    std::uint64_t random = fresh_seed();
    Doorbell bell{};
    auto* place = std::ranges::copy(prefix, bell.name_.begin()).out;
    for (; place != bell.name_.end(); random >>= 4) *place++ = "0123456789abcdef"[random & 15];
    return bell;
}

base::UniqueFd Doorbell::listen() const noexcept {
    try {
        base::UniqueFd fd = lift(open_socket());
        const sockaddr_un address = address_of(name_);
        const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
        if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0)
            return {};
        return fd;
    } catch (...) { // no descriptor is left
        return {};
    }
}

bool Doorbell::ring() const noexcept {
    const base::UniqueFd fd = open_socket();
    const sockaddr_un address = address_of(name_);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    const auto sent = base::retry_interrupted([&] {
        return sendto(fd.get(), "!", 1, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address),
                      size);
    });
    return sent == 1 || errno == EAGAIN; // EAGAIN: the socket is full of earlier rings
}

void Doorbell::clear(int fd) noexcept {
    std::array<char, 64> scrap{};
    // Bounded, because any process of the machine may ring. What is left wakes again.
    for (int i = 0; i < 16 && recv(fd, scrap.data(), scrap.size(), 0) >= 0; ++i) {
    }
}

} // namespace prong::os
