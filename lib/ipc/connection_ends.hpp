#pragma once

#include "base/fd.hpp"
#include "ipc/incoming.hpp"
#include "os/descriptor.hpp"

#include <prong/connection.hpp>
#include <prong/detail/async_members.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

namespace prong::detail {

/// What happens at one end.
struct EndState {
    Incoming incoming;
    /// The operation of an event loop that receives or sends (`ConnectionPort::Direction`), and
    /// `os::fork_depth()` of its process.
    struct Use {
        Cancellable* operation = nullptr;
        unsigned home = 0;
    };
    std::array<Use, 2> uses{};
};

/// The descriptors of both ends of a connection that are open in this process. Each end can thus
/// close the other's copy in a child, and the other's object does not close a reused number later.
struct ConnectionEnds {
    std::array<std::atomic<int>, 2> fds{-1, -1};
    std::array<std::optional<os::FileId>, 2> ids{};
    /// `os::fork_depth()` of the last process that received this end as an argument.
    std::array<unsigned, 2> kept_at{};
    std::array<EndState, 2> states{};

    explicit ConnectionEnds(base::UniqueFd first, base::UniqueFd second = {}) noexcept
        : ids{os::FileId::of(first.get()), os::FileId::of(second.get())} {
        fds[0] = first.release();
        fds[1] = second.release();
    }

    /// Closes a descriptor, unless user code has closed and reused its number. Cancels operations.
    void close(std::size_t side) noexcept;

    /// Creates the connection of one end.
    static Connection connection(std::shared_ptr<ConnectionEnds> ends, std::size_t side,
                                 bool receives = true, bool sends = true) {
        return {std::move(ends), side, receives, sends};
    }

    /// Receives the message whose first bytes have been received already. On `std::bad_alloc` the
    /// message is discarded.
    static std::vector<std::byte> receive_message(Connection& connection, MessageSource& source) {
        Incoming& incoming = connection.ends_->states[connection.side_].incoming;
        try {
            return *incoming.receive(source);
        } catch (const std::bad_alloc&) {
            incoming.discard(source);
            throw;
        }
    }

    /// Creates a connection whose other end belongs to another process.
    static Connection connection(base::UniqueFd socket) {
        return connection(std::make_shared<ConnectionEnds>(std::move(socket)), 0);
    }
};

} // namespace prong::detail
