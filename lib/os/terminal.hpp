#pragma once

namespace prong::os {

/// Gives up the controlling terminal, so that neither this process nor its children can read it,
/// wait for it or be stopped by it. Opening /dev/tty then fails, and so does reading a descriptor
/// of that terminal; writing still works. Does nothing if a descriptor cannot be made write-only
/// (the terminal belongs to another user): reads then reach the kernel, which refuses them to
/// background processes that ignore SIGTTIN.
void give_up_terminal() noexcept;

} // namespace prong::os
