#pragma once

namespace prong::os {

/// Gives up the controlling terminal, so that nothing in this process, nor what it starts, can read
/// it, waits for it, or is stopped by it: opening /dev/tty fails, and so does reading a descriptor
/// that is that terminal. Writing to it goes on. Does nothing where a descriptor cannot be made
/// write-only (the terminal belongs to another user): reading is left to the kernel then, which
/// refuses it to a background process that ignores SIGTTIN.
void give_up_terminal() noexcept;

} // namespace prong::os
