#pragma once

#include "base/fd.hpp"

#include <array>

namespace prong::os {

/// A name by which related processes wake one that sleeps in `poll`, for where signals are
/// forbidden because one of the processes has changed its user or session. The sender needs no
/// descriptor. It is a local datagram socket with an abstract name: it has no file, ends with its
/// owner, and is out of reach from another network namespace or where sockets are forbidden.
///
/// Thread safety: any thread. Process safety: any process that has a copy.
class Doorbell {
public:
    /// Creates a name that no other doorbell has.
    static Doorbell unique() noexcept;

    /// Opens the descriptor that becomes readable when the bell rings. Returns an invalid one if
    /// the system refuses.
    [[nodiscard]] base::UniqueFd listen() const noexcept;

    /// Wakes the process that listens. Returns false if no process listens, or the system refuses.
    bool ring() const noexcept;

    /// Drains the descriptor.
    static void clear(int fd) noexcept;

private:
    std::array<char, 24> name_; ///< begins with a zero, as abstract names do
};

} // namespace prong::os
