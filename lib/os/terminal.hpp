#pragma once

namespace prong::os {

/// Gives up the controlling terminal, so that nothing in this process, nor what it starts, can read
/// it, waits for it, or is stopped by it: opening /dev/tty fails, and so does reading 0, 1 and 2 if
/// they are that terminal. Writing to 1 and 2 goes on.
void give_up_terminal() noexcept;

} // namespace prong::os
