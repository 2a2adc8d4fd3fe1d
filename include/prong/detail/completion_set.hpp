#pragma once

#include <prong/detail/task_handle.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <span>

namespace prong::detail {

/// Finds which of many tasks of one or several pools have ended, at a cost for each that does not
/// depend on how many are pending.
///
/// Thread safety: one thread at a time.
class PRONG_API CompletionSet {
public:
    CompletionSet();
    CompletionSet(CompletionSet&&) noexcept;
    CompletionSet& operator=(CompletionSet&&) noexcept;
    ~CompletionSet();

    /// Adds a task under a number that `ended` will return. The handle stays in place until then.
    /// Throws `std::logic_error` if it is not valid.
    void add(const TaskHandle& task, std::size_t number);

    /// Returns how many have been added and not returned by `ended`.
    [[nodiscard]] std::size_t pending() const noexcept;

    /// Waits until one of them has ended, at most until `limit`. Returns whether one has. Removes
    /// those whose handles are no longer valid. Returns early if another thread sets `interrupted`
    /// and then notifies the pool's completions.
    bool wait(Deadline limit, const std::atomic<bool>* interrupted = nullptr);

    /// Returns the numbers that the last `wait` has found, each once.
    [[nodiscard]] std::span<const std::size_t> ended() const noexcept;

private:
    class State;
    std::unique_ptr<State> state_;
};

} // namespace prong::detail
