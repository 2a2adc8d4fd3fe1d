#include <prong/detail/connection_port.hpp>

#include "ipc/connection_ends.hpp"
#include "ipc/frame.hpp"
#include "os/fork_depth.hpp"
#include "os/socket.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace prong::detail {
namespace {

/// What one attempt transfers at most, so that the loop's other handlers have their turn.
constexpr std::size_t most_bytes = 1U << 20;

EndState::Use& use_of(EndState& state, ConnectionPort::Direction direction) {
    return state.uses[static_cast<std::size_t>(direction)];
}

} // namespace

ConnectionPort::ConnectionPort(const Connection& connection, Direction direction)
    : ends_(connection.ends_), side_(connection.side_), direction_(direction) {
    static_cast<void>(direction == Direction::receive ? connection.receiving_fd()
                                                      : connection.sending_fd());
}

ConnectionPort::~ConnectionPort() {
    if (operation_ == nullptr) return;
    EndState::Use& use = use_of(ends_->states[side_], direction_);
    if (use.home != os::fork_depth()) return; // a copy of the parent's operation
    use = {};
    // The peer would take what follows a partial message for the rest of it.
    if (sent_bytes_ != 0 && !is_closed()) shutdown(ends_->fds[side_], SHUT_WR);
}

void ConnectionPort::enter(Cancellable& operation) {
    if (operation_ != nullptr) return;
    EndState::Use& use = use_of(ends_->states[side_], direction_);
    if (use.operation != nullptr && use.home == os::fork_depth()) {
        throw std::logic_error("prong::Connection: only one operation at a time may " +
                               std::string(direction_ == Direction::receive ? "receive" : "send"));
    }
    use = {.operation = &operation, .home = os::fork_depth()};
    operation_ = &operation;
}

bool ConnectionPort::is_closed() const noexcept {
    return ends_->fds[side_] < 0;
}

int ConnectionPort::watch() const {
    const auto readiness =
        direction_ == Direction::receive ? os::Readiness::readable : os::Readiness::writable;
    return os::watch(ends_->fds[side_], readiness).release();
}

std::optional<std::vector<std::byte>> ConnectionPort::try_receive() {
    MessageSource source{.fd = ends_->fds[side_], .budget = most_bytes};
    return ends_->states[side_].incoming.receive(source);
}

bool ConnectionPort::try_send(std::span<const std::byte> message) {
    const ipc::FrameHeader header(message.size());
    const std::size_t header_bytes = header.bytes().size();
    const std::size_t all = header_bytes + message.size();
    const std::size_t end = std::min(all, sent_bytes_ + most_bytes);
    while (sent_bytes_ < end) {
        const auto head = header.bytes().subspan(std::min(sent_bytes_, header_bytes));
        const auto body = message.subspan(std::max(sent_bytes_, header_bytes) - header_bytes);
        const std::size_t sent = os::try_send(ends_->fds[side_], head, body);
        if (sent == 0) return false;
        sent_bytes_ += sent;
    }
    if (sent_bytes_ < all) return false;
    sent_bytes_ = 0;
    return true;
}

} // namespace prong::detail
