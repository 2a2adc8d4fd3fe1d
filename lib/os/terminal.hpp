#pragma once

namespace prong::os {

/// Gives up the controlling terminal, so that neither this process nor its children can read it,
/// wait for it or be stopped by it. Opening /dev/tty then fails, and so does reading a descriptor
/// of that terminal; writing still works. Does nothing if a descriptor cannot be made write-only
/// (the terminal belongs to another user): then the kernel refuses reads, because background
/// processes ignore SIGTTIN.
void give_up_terminal() noexcept;

} // namespace prong::os
