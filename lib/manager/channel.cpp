#include "manager/channel.hpp"

#include "ipc/connection_ends.hpp"
#include "os/socket.hpp"

#include <prong/error.hpp>

#include <array>
#include <utility>

namespace prong::manager {

Channel::Channel(Connection connection)
    : connection_(std::move(connection)), fd_(connection_.fileno()) {}

std::vector<std::byte> Channel::receive() {
    std::array<std::byte, 4096> room; // for most messages with their header
    const std::size_t count = receive_beginning(room);
    detail::MessageSource source{.fd = fd_, .arrived = std::span(room).first(count)};
    std::vector<std::byte> message = detail::ConnectionEnds::receive_message(connection_, source);
    if (!source.arrived.empty())
        throw CodecError("the other end of the connection has sent a second message unasked");
    return message;
}

/// Waits a little without sleeping: most calls take less time than two wake-ups.
std::size_t Channel::receive_beginning(std::span<std::byte> room) {
    do {
        if (const auto count = os::try_receive(fd_, room)) {
            spinner_.found();
            return *count;
        }
    } while (spinner_.spin([] { return 1U; }));
    return os::receive_some(fd_, room);
}

} // namespace prong::manager
