#pragma once

#include <cstdint>
#include <optional>

namespace prong::executor {

/// Keeps the memory that large tasks have freed in the C library's heap, so that the next ones do
/// not fault it in anew. Returns it to the system after 2 s without a large task.
/// Changes nothing unless there are large tasks, nor if the program has chosen its own settings
/// (`mallopt`, MALLOC_… in the environment) or another allocator.
///
/// Thread safety: one thread.
class WarmHeap {
public:
    /// Called after a task with large arguments or a large result. `now_ns`: on the steady clock,
    /// coarse.
    void keep(std::int64_t now_ns) noexcept;

    /// Returns when the memory is to be returned, on the steady clock; nothing if none is kept.
    [[nodiscard]] std::optional<std::int64_t> until_ns() const noexcept { return until_ns_; }

    /// Returns kept memory to the system; until the next `keep` the heap behaves as usual.
    void release() noexcept;

private:
    bool may_change_ = true; ///< false: the program has chosen its own settings
    bool has_changed_ = false;
    std::optional<std::int64_t> until_ns_;
};

} // namespace prong::executor
