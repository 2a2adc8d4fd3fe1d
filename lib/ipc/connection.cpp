#include <prong/connection.hpp>

#include "ipc/connection_ends.hpp"
#include "ipc/frame.hpp"
#include "os/fork_depth.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/error.hpp>
#include <prong/pipe.hpp>

#include <stdexcept>
#include <string>

namespace prong {

void detail::ConnectionEnds::close(std::size_t side) noexcept {
    const int fd = fds[side].exchange(-1);
    if (fd >= 0 && os::FileId::of(fd) == ids[side]) ::close(fd);
    for (const EndState::Use& use : states[side].uses) {
        if (use.operation != nullptr && use.home == os::fork_depth()) use.operation->cancel();
    }
}

Connection::Connection() noexcept = default;

Connection::Connection(std::shared_ptr<detail::ConnectionEnds> ends, std::size_t side,
                       bool receives, bool sends)
    : ends_(std::move(ends)), side_(side), receives_(receives), sends_(sends) {}

Connection::Connection(Connection&& other) noexcept = default;

Connection& Connection::operator=(Connection&& other) noexcept {
    if (this == &other) return *this;
    close();
    ends_ = std::move(other.ends_);
    side_ = other.side_;
    receives_ = other.receives_;
    sends_ = other.sends_;
    return *this;
}

Connection::~Connection() {
    close();
}

void Connection::close() noexcept {
    if (ends_) ends_->close(side_);
    ends_.reset();
}

bool Connection::closed() const noexcept {
    return !ends_ || ends_->fds[side_] < 0;
}

int Connection::fileno() const {
    const int fd = ends_ ? ends_->fds[side_].load() : -1;
    if (fd < 0) throw std::logic_error("prong::Connection: used after close()");
    if (os::FileId::of(fd) != ends_->ids[side_])
        throw std::logic_error("prong::Connection: its descriptor was closed by other code");
    return fd;
}

void prong_keep_end(Connection& connection) noexcept {
    if (connection.ends_) connection.ends_->kept_at[connection.side_] = os::fork_depth();
}

void prong_drop_other_end(Connection& connection) noexcept {
    if (!connection.ends_) return;
    const std::size_t other = 1 - connection.side_;
    if (connection.ends_->kept_at[other] != os::fork_depth()) connection.ends_->close(other);
}

int Connection::receiving_fd() const {
    const int fd = fileno();
    if (!receives_) throw std::logic_error("prong::Connection: this end only sends");
    return fd;
}

int Connection::sending_fd() const {
    const int fd = fileno();
    if (!sends_) throw std::logic_error("prong::Connection: this end only receives");
    return fd;
}

void Connection::send_bytes(std::span<const std::byte> message) {
    os::send_all(sending_fd(), ipc::FrameHeader(message.size()).bytes(), message);
}

std::vector<std::byte> Connection::recv_bytes() {
    detail::MessageSource source{.fd = receiving_fd()};
    return *ends_->states[side_].incoming.receive(source);
}

void Connection::require_all_read(const detail::Reader& reader) {
    if (reader.remaining() == 0) return;
    throw CodecError("the message is longer than the requested type: " +
                     std::to_string(reader.remaining()) + " bytes are left over");
}

bool Connection::poll(Timeout timeout) const {
    return os::wait_readable(receiving_fd(), detail::Deadline::after(timeout));
}

std::pair<Connection, Connection> Pipe(bool duplex) {
    auto [first, second] = os::socket_pair();
    using Ends = detail::ConnectionEnds;
    const auto ends = std::make_shared<Ends>(std::move(first), std::move(second));
    return {Ends::connection(ends, 0, true, duplex), Ends::connection(ends, 1, duplex, true)};
}

} // namespace prong
