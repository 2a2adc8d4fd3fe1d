#pragma once

#include <functional>

namespace prong::os {

/// Calls `body` on a stack as large as the main thread of a program usually has (RLIMIT_STACK; 8
/// MiB if that is unlimited): the caller's if that is large enough, else the stack of a new thread,
/// which it joins. Processes that `body` forks have such a stack, too. Returns the result of
/// `body`.
int on_ample_stack(const std::function<int()>& body);

} // namespace prong::os
