#pragma once

#include "base/fd.hpp"
#include "os/descriptor.hpp"

#include <prong/connection.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>

namespace prong::detail {

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

    /// Creates a connection whose other end belongs to another process.
    static Connection connection(base::UniqueFd socket) {
        return connection(std::make_shared<ConnectionEnds>(std::move(socket)), 0);
    }
};

} // namespace prong::detail
