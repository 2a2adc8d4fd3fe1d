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
/// program that becomes readable. Implicitly constructible from each of them.
class PRONG_API Waitable {
public:
    /// Throws `std::logic_error` if the connection is closed or only sends.
    Waitable(const Connection& connection);
    /// Ready when `accept_for(0s)` has something to do. *Throws* `std::logic_error` if the listener
    /// is closed.
    Waitable(const Listener& listener);
    /// *Throws* `std::logic_error` if the process has not been started, or is not a child of this
    /// process.
    Waitable(const Process& process);
    /// *Throws* `std::invalid_argument` for a negative descriptor.
    Waitable(int fd);

    /// Returns the descriptor that becomes readable.
    [[nodiscard]] int fd() const noexcept { return fd_; }

private:
    int fd_;
};

/// Blocks until at least one of `items` is ready: a connection has a message or has lost its peer,
/// a listener has a client, a process has ended, a descriptor is readable. Returns the positions of
/// all ready items, ascending; empty on timeout. *Default:* no timeout; returns at once if `items`
/// is empty. Zero polls. Signals do not end the wait. *Throws* `std::system_error` for a descriptor
/// that is not open.
///
/// Thread safety: any thread; all items must stay open meanwhile.
PRONG_API std::vector<std::size_t> wait(std::span<const Waitable> items,
                                        Timeout timeout = std::nullopt);

/// Like the above: `prong::wait({process, connection}, 2s)`.
PRONG_API std::vector<std::size_t> wait(std::initializer_list<Waitable> items,
                                        Timeout timeout = std::nullopt);

} // namespace prong
