#include "ipc/incoming.hpp"

#include "os/socket.hpp"

#include <prong/error.hpp>

#include <sys/socket.h>

#include <algorithm>
#include <limits>
#include <new>
#include <string>
#include <utility>

namespace prong::detail {
namespace {

/// Memory that is reserved for a message at once; after that, this many times what has arrived.
constexpr std::uint64_t step_bytes = 1U << 20;
constexpr std::uint64_t growth = 8;

} // namespace

std::size_t MessageSource::receive(std::span<std::byte> buffer) {
    std::size_t count = std::min(arrived.size(), buffer.size());
    std::ranges::copy(arrived.first(count), buffer.begin());
    arrived = arrived.subspan(count);
    if (!budget) {
        count += os::receive_all(fd, buffer.subspan(count));
        is_closed = count < buffer.size();
        return count;
    }
    while (count < buffer.size() && *budget != 0) {
        const auto rest = buffer.subspan(count);
        const auto received = os::try_receive(fd, rest.first(std::min(rest.size(), *budget)));
        if (!received) break;
        is_closed = *received == 0;
        if (is_closed) break;
        count += *received;
        *budget -= *received;
    }
    return count;
}

std::optional<std::vector<std::byte>> Incoming::receive(MessageSource& source) {
    for (;;) {
        if (!receive_header(source)) return std::nullopt;
        const bool is_discarded = is_discarded_;
        if (!(is_discarded ? skip_body(source) : receive_body(source))) return std::nullopt;
        std::vector<std::byte> message = std::move(message_);
        *this = Incoming();
        if (!is_discarded) return message;
    }
}

void Incoming::discard(MessageSource& source) {
    if (!is_discarded_) return;
    skip_body(source);
    *this = Incoming();
}

bool Incoming::receive_header(MessageSource& source) {
    if (size_) return true;
    if (!fill_header(source, ipc::size_bytes)) return false;
    const auto [first, second] = std::pair(std::span(header_).first(ipc::size_bytes),
                                           std::span(header_).subspan(ipc::size_bytes));
    std::uint64_t size = ipc::read_number(first);
    if (size == ipc::large_mark) {
        if (!fill_header(source, header_.size())) return false;
        size = ipc::read_number(second);
    } else if (size > ipc::largest_size) {
        // No later byte can be the beginning of a message: all that has arrived is discarded.
        size_ = missing_ = std::numeric_limits<std::uint64_t>::max();
        is_discarded_ = true;
        shutdown(source.fd, SHUT_RDWR);
        throw CodecError("the other end of the connection does not send messages: it is neither a "
                         "prong program nor one that uses Python's multiprocessing.connection");
    }
    size_ = missing_ = size;
    return true;
}

bool Incoming::fill_header(MessageSource& source, std::size_t wanted) {
    if (header_bytes_ >= wanted) return true;
    header_bytes_ +=
        source.receive(std::span(header_).subspan(header_bytes_, wanted - header_bytes_));
    if (header_bytes_ == wanted) return true;
    if (!source.is_closed) return false;
    if (std::exchange(header_bytes_, 0) == 0)
        throw EndOfFile("the other end of the connection is closed");
    throw EndOfFile(
        "the other end of the connection was closed in the middle of a message's header");
}

bool Incoming::receive_body(MessageSource& source) {
    try {
        while (missing_ != 0) {
            const std::size_t done = *size_ - missing_;
            const auto step = std::min(missing_, step_bytes);
            if (message_.capacity() - done < step)
                message_.reserve(std::min(*size_, std::max(done + step, growth * done)));
            message_.resize(done + step); // only bytes that arrive next are touched
            if (!receive_part(source, std::span(message_).subspan(done))) return false;
        }
        return true;
    } catch (const std::bad_alloc&) {
        message_ = {};
        is_discarded_ = true;
        throw;
    }
}

bool Incoming::skip_body(MessageSource& source) {
    std::array<std::byte, 65536> scrap;
    while (missing_ != 0) {
        const auto part = std::span(scrap).first(std::min<std::uint64_t>(missing_, scrap.size()));
        if (!receive_part(source, part)) return false;
    }
    return true;
}

/// Receives the next part of the body. Returns false if it is not complete.
bool Incoming::receive_part(MessageSource& source, std::span<std::byte> part) {
    const std::size_t received = source.receive(part);
    missing_ -= received;
    if (received == part.size()) return true;
    if (!source.is_closed) return false;
    const std::uint64_t size = *size_;
    const std::uint64_t arrived = size - missing_;
    *this = Incoming();
    throw EndOfFile("the other end of the connection was closed in the middle of a message: " +
                    std::to_string(arrived) + " of " + std::to_string(size) + " bytes arrived");
}

} // namespace prong::detail
