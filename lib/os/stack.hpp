#pragma once

#include <functional>

namespace prong::os {

/// Calls `body` on a stack that has as much room as the main thread of a program usually has
/// (RLIMIT_STACK; 8 MiB if that is unlimited): on the caller's if it does, else in a thread of its
/// own, for whose end it waits. What `body` forks has such a stack, too. Returns its result.
int on_ample_stack(const std::function<int()>& body);

} // namespace prong::os
