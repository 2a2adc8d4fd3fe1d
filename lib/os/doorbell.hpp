#pragma once

#include "base/fd.hpp"

#include <array>

namespace prong::os {

/// A name by which related processes wake one that sleeps in `poll`, where a signal is forbidden:
/// one of them has changed its user or session since they were forked. It needs no descriptor in
/// those that ring. A local datagram socket with an abstract name: no file, gone with its owner,
/// and out of reach in another network namespace, or where
/// sockets are forbidden.
///
/// Thread safety: any thread. Process safety: good in every process that has a copy.
class Doorbell {
public:
    /// Makes a name that no other doorbell has.
    static Doorbell unique() noexcept;

    /// Opens the descriptor that becomes readable when the bell rings; not valid if the system
    /// refuses.
    [[nodiscard]] base::UniqueFd listen() const noexcept;

    /// Wakes the process that listens; false if none does, or this one may not.
    bool ring() const noexcept;

    /// Takes what has rung so far off the descriptor.
    static void clear(int fd) noexcept;

private:
    std::array<char, 24> name_; ///< begins with a zero, as abstract names do
};

} // namespace prong::os
