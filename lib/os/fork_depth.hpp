#pragma once

#include <atomic>

/// How a process finds out that it is a copy of another one.
namespace prong::os {
namespace detail {

using DepthWord = std::atomic<unsigned>;

/// Where this process's depth stands; 0 there: not known yet.
extern constinit std::atomic<DepthWord*> depth_word;

unsigned find_fork_depth() noexcept;

} // namespace detail

/// A number that a process shares with none of those that it was forked from, so a number kept
/// from before tells that this process is a copy. Each fork adds one at least, by whatever call
/// (`fork`, `_Fork`, `clone`), unless parent and child share their memory. Costs two loads.
///
/// Thread safety: any thread, also in a signal handler.
[[nodiscard]] inline unsigned fork_depth() noexcept {
    const detail::DepthWord* const word = detail::depth_word.load(std::memory_order_acquire);
    const unsigned depth = word->load(std::memory_order_relaxed);
    return depth != 0 ? depth : detail::find_fork_depth();
}

} // namespace prong::os
