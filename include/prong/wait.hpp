#pragma once

#include <prong/detail/export.hpp>
#include <prong/fwd.hpp>
#include <prong/timeout.hpp>

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

namespace prong {

/// Something to wait for: a message on a connection, the end of a process, or a descriptor of the
/// user's own that becomes readable. Implicitly constructible from each of them.
class PRONG_API Waitable {
public:
    /// Throws `std::logic_error` if the connection is closed or only sends.
    Waitable(const Connection& connection);
    /// Throws `std::logic_error` if the process has not been started, or is not this one's child.
    Waitable(const Process& process);
    /// Throws `std::invalid_argument` if it is negative.
    Waitable(int fd);

    /// The descriptor that becomes readable.
    [[nodiscard]] int fd() const noexcept { return fd_; }

private:
    int fd_;
};

/// Blocks until at least one of them is ready: has something to receive (or its other end is gone),
/// has ended, is readable. Returns the ascending positions of all that are ready; empty on timeout.
/// Default: no timeout; an empty list then blocks for ever. Zero: does not block. Signals do not
/// end the wait. Throws `std::system_error` for a descriptor that is not open.
///
/// Thread safety: any thread; those waited for must stay open meanwhile.
PRONG_API std::vector<std::size_t> wait(std::span<const Waitable> those,
                                        Timeout timeout = std::nullopt);

/// `prong::wait({process, connection}, 2s)`
PRONG_API std::vector<std::size_t> wait(std::initializer_list<Waitable> those,
                                        Timeout timeout = std::nullopt);

} // namespace prong
