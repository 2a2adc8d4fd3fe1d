#include <prong/connection.hpp>

#include "ipc/connection_ends.hpp"
#include "ipc/frame.hpp"
#include "os/fork_depth.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

#include <prong/detail/deadline.hpp>
#include <prong/error.hpp>
#include <prong/pipe.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <string>

namespace prong {

namespace {

/// Memory that is reserved for a message at once; after that, this many times what has arrived.
constexpr std::uint64_t step_bytes = 1U << 20;
constexpr std::uint64_t growth = 8;

} // namespace

void detail::ConnectionEnds::close(std::size_t side) noexcept {
    const int fd = fds[side].exchange(-1);
    if (fd >= 0 && os::FileId::of(fd) == ids[side]) ::close(fd);
}

std::size_t detail::MessageSource::receive_all(std::span<std::byte> buffer) {
    const std::size_t count = std::min(arrived.size(), buffer.size());
    std::ranges::copy(arrived.first(count), buffer.begin());
    arrived = arrived.subspan(count);
    return count + os::receive_all(fd, buffer.subspan(count));
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
    unread_bytes_ = other.unread_bytes_;
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

void Connection::send_bytes(std::span<const std::byte> message) {
    const int fd = fileno();
    if (!sends_) throw std::logic_error("prong::Connection: this end only receives");
    os::send_all(fd, ipc::FrameHeader(message.size()).bytes(), message);
}

std::vector<std::byte> Connection::recv_bytes() {
    detail::MessageSource source{.fd = receiving_fd(), .arrived = {}};
    return receive_message(source);
}

std::vector<std::byte> Connection::receive_message(detail::MessageSource& source) {
    skip_unread(source);
    const std::uint64_t size = unread_bytes_ = receive_header(source);
    std::vector<std::byte> message;
    while (unread_bytes_ != 0) {
        const std::size_t done = message.size();
        const auto step = std::min(unread_bytes_, step_bytes);
        if (message.capacity() - done < step) {
            message.reserve(std::min(size, std::max(step_bytes, growth * done)));
        }
        message.resize(done + step); // only bytes that arrive next are touched
        receive(source, std::span(message).subspan(done), size);
    }
    return message;
}

/// Receives the header of a message; returns the size of the message.
std::uint64_t Connection::receive_header(detail::MessageSource& source) {
    std::array<std::byte, ipc::large_size_bytes> bytes{};
    const auto receive_number = [&](std::size_t wanted) {
        const auto number = std::span(bytes).first(wanted);
        const std::size_t received = source.receive_all(number);
        if (received == 0 && wanted == ipc::size_bytes)
            throw EndOfFile("the other end of the connection is closed");
        if (received < wanted) {
            throw EndOfFile(
                "the other end of the connection was closed in the middle of a message's header");
        }
        return ipc::read_number(number);
    };
    const std::uint64_t size = receive_number(ipc::size_bytes);
    if (size <= ipc::largest_size) return size;
    if (size == ipc::large_mark) return receive_number(ipc::large_size_bytes);
    // No later byte can be the beginning of a message: all that has arrived is discarded.
    unread_bytes_ = std::numeric_limits<std::uint64_t>::max();
    shutdown(source.fd, SHUT_RDWR);
    throw CodecError("the other end of the connection does not send messages: it is neither a "
                     "prong program nor one that uses Python's multiprocessing.connection");
}

/// Receives the next part of a message of `message_bytes`.
void Connection::receive(detail::MessageSource& source, std::span<std::byte> part,
                         std::uint64_t message_bytes) {
    const std::size_t received = source.receive_all(part);
    unread_bytes_ -= received;
    if (received == part.size()) return;
    const std::uint64_t missing = std::exchange(unread_bytes_, 0);
    throw EndOfFile("the other end of the connection was closed in the middle of a message: " +
                    std::to_string(message_bytes - missing) + " of " +
                    std::to_string(message_bytes) + " bytes arrived");
}

void Connection::skip_unread(detail::MessageSource& source) {
    const std::uint64_t size = unread_bytes_;
    std::array<std::byte, 65536> scrap;
    while (unread_bytes_ != 0) {
        receive(source,
                std::span(scrap).first(std::min<std::uint64_t>(unread_bytes_, scrap.size())), size);
    }
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
