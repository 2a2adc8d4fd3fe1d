#pragma once

#include "base/fd.hpp"

/// Pipes by which related processes wake one that waits for several descriptors. Unlike an eventfd,
/// a pipe has an identity (`FileId`), its ends have separate flags, and it ends with its senders.
namespace prong::os {

struct WakePipe {
    base::UniqueFd receiver; ///< becomes readable
    base::UniqueFd sender;
};

/// Creates a pipe whose ends never block. Throws `std::system_error`.
WakePipe make_wake_pipe();

/// Creates the receiver of a pipe without sender: it stays readable, and `read` returns 0. Throws
/// `std::system_error`.
base::UniqueFd make_ended_pipe();

/// Makes the receiver readable. Never blocks. Returns false if the descriptor is not open. Some
/// process must keep a receiver open, else SIGPIPE ends the caller.
bool wake(int fd) noexcept;

/// Makes a receiver of this process readable, which keeps no sender: opens one through `/proc`.
/// Returns false if that fails.
bool wake_receiver(int receiver) noexcept;

/// Makes the receiver unreadable. Never blocks.
void clear_wakes(int fd) noexcept;

} // namespace prong::os
