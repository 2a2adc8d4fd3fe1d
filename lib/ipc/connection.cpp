#include <prong/detail/deadline.hpp>
#include <prong/pipe.hpp>

#include "base/fd.hpp"
#include "os/descriptor.hpp"
#include "os/fork_depth.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <optional>
#include <stdexcept>
#include <string>

// On the wire: the message's size in 8 bytes in host order, then the message.

namespace prong {
namespace detail {

/// The descriptors of both ends that are open in this process. Each end can thus close the other's
/// copy in a child, and the other's object does not close a reused number later.
struct PipeEnds {
    std::array<std::atomic<int>, 2> fds{-1, -1};
    std::array<std::optional<os::FileId>, 2> ids{};
    /// `os::fork_depth()` of the last process that received this end as an argument.
    std::array<unsigned, 2> kept_at{};

    /// Closes a descriptor, unless user code has closed and reused its number.
    void close(std::size_t side) noexcept {
        const int fd = fds[side].exchange(-1);
        if (fd >= 0 && os::FileId::of(fd) == ids[side]) ::close(fd);
    }
};

} // namespace detail

namespace {

/// Memory that is reserved for a message at once; after that, this many times what has arrived.
constexpr std::uint64_t step_bytes = 1U << 20;
constexpr std::uint64_t growth = 8;

} // namespace

Connection::Connection() noexcept = default;

Connection::Connection(std::shared_ptr<detail::PipeEnds> ends, std::size_t side, bool receives,
                       bool sends)
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

void Connection::require_receiving() const {
    (void)fileno();
    if (!receives_) throw std::logic_error("prong::Connection: this end of the pipe only sends");
}

void Connection::send_bytes(std::span<const std::byte> message) {
    const int fd = fileno();
    if (!sends_) throw std::logic_error("prong::Connection: this end of the pipe only receives");
    const std::array<std::uint64_t, 1> header{message.size()};
    os::send_all(fd, std::as_bytes(std::span(header)), message);
}

std::vector<std::byte> Connection::recv_bytes() {
    require_receiving();
    skip_unread();
    std::array<std::uint64_t, 1> header{};
    const auto header_bytes = std::as_writable_bytes(std::span(header));
    const std::size_t received = os::receive_all(fileno(), header_bytes);
    if (received == 0) throw EndOfFile("the other end of the pipe is closed");
    if (received < header_bytes.size()) {
        throw EndOfFile("the other end of the pipe was closed in the middle of a message's header");
    }
    const std::uint64_t size = unread_bytes_ = header[0];
    std::vector<std::byte> message;
    while (unread_bytes_ != 0) {
        const std::size_t done = message.size();
        const auto step = std::min(unread_bytes_, step_bytes);
        if (message.capacity() - done < step) {
            message.reserve(std::min(size, std::max(step_bytes, growth * done)));
        }
        message.resize(done + step); // only bytes that arrive next are touched
        receive(std::span(message).subspan(done), size);
    }
    return message;
}

/// Receives the next part of a message of `message_bytes`.
void Connection::receive(std::span<std::byte> part, std::uint64_t message_bytes) {
    const std::size_t received = os::receive_all(fileno(), part);
    unread_bytes_ -= received;
    if (received == part.size()) return;
    const std::uint64_t missing = std::exchange(unread_bytes_, 0);
    throw EndOfFile("the other end of the pipe was closed in the middle of a message: " +
                    std::to_string(message_bytes - missing) + " of " +
                    std::to_string(message_bytes) + " bytes arrived");
}

void Connection::skip_unread() {
    const std::uint64_t size = unread_bytes_;
    std::array<std::byte, 65536> scrap;
    while (unread_bytes_ != 0) {
        receive(std::span(scrap).first(std::min<std::uint64_t>(unread_bytes_, scrap.size())), size);
    }
}

void Connection::require_all_read(const detail::Reader& reader) {
    if (reader.remaining() == 0) return;
    throw CodecError("the message is longer than the requested type: " +
                     std::to_string(reader.remaining()) + " bytes are left over");
}

bool Connection::poll(Timeout timeout) const {
    require_receiving();
    return os::wait_readable(fileno(), detail::Deadline::after(timeout));
}

std::pair<Connection, Connection> Pipe(bool duplex) {
    auto [first, second] = os::socket_pair();
    const auto ends = std::make_shared<detail::PipeEnds>();
    ends->ids = {os::FileId::of(first.get()), os::FileId::of(second.get())};
    ends->fds[0] = first.release();
    ends->fds[1] = second.release();
    return {Connection(ends, 0, true, duplex), Connection(ends, 1, duplex, true)};
}

} // namespace prong
