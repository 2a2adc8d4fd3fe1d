#pragma once

#include "executor/parent/records.hpp"
#include "executor/parent/supervisor_link.hpp"
#include "executor/shared/loop_notifier.hpp"
#include "os/descriptor.hpp"

#include <atomic>
#include <mutex>

namespace prong::executor {

/// The parent's end of the signal of `LoopNotifier`. The supervisor creates the signal; the parent
/// opens it through `/proc` when the program asks for it, so pools without it keep no descriptor.
///
/// Thread safety: any thread.
class CompletionSignal {
public:
    CompletionSignal(LoopNotifier& loops, SupervisorLink& supervisor)
        : words_(loops.words()), supervisor_(supervisor) {}

    /// Returns the descriptor. The first call makes all ends send a byte from now on; it blocks
    /// until the supervisor has created the signal. Throws `std::system_error`.
    int open(const RecordStore& records);

    /// Returns whether the descriptor says that no process of the pool is left. Then the supervisor
    /// has ended, or is about to.
    [[nodiscard]] bool has_ended() const noexcept;

private:
    base::UniqueFd open_receiver();

    LoopWords& words_;
    SupervisorLink& supervisor_;
    std::mutex mutex_; ///< guards the opening
    std::atomic<bool> is_open_ = false;
    os::GuardedFd receiver_;
};

} // namespace prong::executor
