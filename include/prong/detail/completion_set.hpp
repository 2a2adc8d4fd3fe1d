#pragma once

#include <prong/detail/task_handle.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

namespace prong::detail {

/// Tasks of one or several pools, of which it tells which have ended, at a cost for each that does
/// not depend on how many are pending.
///
/// Thread safety: one thread at a time.
class PRONG_API CompletionSet {
public:
    CompletionSet();
    CompletionSet(CompletionSet&&) noexcept;
    CompletionSet& operator=(CompletionSet&&) noexcept;
    ~CompletionSet();

    /// Adds a task under a number that `ended` will tell. The handle stays in place until then.
    /// Throws `std::logic_error` if it is not valid.
    void add(const TaskHandle& task, std::size_t number);

    /// How many have been added and not told.
    [[nodiscard]] std::size_t pending() const noexcept;

    /// Waits until one of them has ended, at most until `limit`; returns whether one has. Forgets
    /// those whose handles are no longer valid. Returns early if another thread sets `interrupted`
    /// and then notifies the pool's completions.
    bool wait(Deadline limit, const std::atomic<bool>* interrupted = nullptr);

    /// What the last `wait` has found: the numbers, each once.
    [[nodiscard]] std::span<const std::size_t> ended() const noexcept;

private:
    class State;
    std::unique_ptr<State> state_;
};

} // namespace prong::detail
