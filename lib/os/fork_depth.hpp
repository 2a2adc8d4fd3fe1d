#pragma once

#include <atomic>

/// How a process detects that it is a copy of another one.
namespace prong::os {
namespace detail {

using DepthWord = std::atomic<unsigned>;

/// Points to this process's depth; the depth is 0 until it is known.
extern constinit std::atomic<DepthWord*> depth_word;

unsigned find_fork_depth() noexcept;

} // namespace detail

/// Returns a number that differs from that of every process that this one was forked from, so a
/// process detects a copy by a number that it kept from before. Each fork adds at least one, by
/// any call (`fork`, `_Fork`, `clone`), unless parent and child share their memory. Costs two
/// loads.
///
/// Thread safety: any thread, also in a signal handler.
[[nodiscard]] inline unsigned fork_depth() noexcept {
    const detail::DepthWord* const word = detail::depth_word.load(std::memory_order_acquire);
    const unsigned depth = word->load(std::memory_order_relaxed);
    return depth != 0 ? depth : detail::find_fork_depth();
}

/// Returns a word that holds `fork_depth()` in this process and another number in each copy of it;
/// null if the kernel cannot provide it.
[[nodiscard]] const std::atomic<unsigned>* fork_depth_word() noexcept;

} // namespace prong::os
