#pragma once

#include "base/fd.hpp"
#include "os/descriptor.hpp"

#include <prong/connection.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace prong::detail {

/// Where the bytes of messages come from: first those that have been received already.
struct MessageSource {
    int fd;
    std::span<const std::byte> arrived;

    /// Fills the buffer, unless the peer is closed. Returns the number of bytes.
    std::size_t receive_all(std::span<std::byte> buffer);
};

/// The descriptors of both ends of a connection that are open in this process. Each end can thus
/// close the other's copy in a child, and the other's object does not close a reused number later.
struct ConnectionEnds {
    std::array<std::atomic<int>, 2> fds{-1, -1};
    std::array<std::optional<os::FileId>, 2> ids{};
    /// `os::fork_depth()` of the last process that received this end as an argument.
    std::array<unsigned, 2> kept_at{};

    explicit ConnectionEnds(base::UniqueFd first, base::UniqueFd second = {}) noexcept
        : ids{os::FileId::of(first.get()), os::FileId::of(second.get())} {
        fds[0] = first.release();
        fds[1] = second.release();
    }

    /// Closes a descriptor, unless user code has closed and reused its number.
    void close(std::size_t side) noexcept;

    /// Creates the connection of one end.
    static Connection connection(std::shared_ptr<ConnectionEnds> ends, std::size_t side,
                                 bool receives = true, bool sends = true) {
        return {std::move(ends), side, receives, sends};
    }

    /// Receives the message whose first bytes have been received already. On `std::bad_alloc` the
    /// message is discarded.
    static std::vector<std::byte> receive_message(Connection& connection, MessageSource& source) {
        try {
            return connection.receive_message(source);
        } catch (const std::bad_alloc&) {
            connection.skip_unread(source);
            throw;
        }
    }

    /// Creates a connection whose other end belongs to another process.
    static Connection connection(base::UniqueFd socket) {
        return connection(std::make_shared<ConnectionEnds>(std::move(socket)), 0);
    }
};

} // namespace prong::detail
