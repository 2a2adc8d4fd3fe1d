#pragma once

#include "shm/payload.hpp"

#include <prong/detail/deadline.hpp>

#include <functional>
#include <optional>

namespace prong::executor {

/// Returns the pages that free payload blocks keep to the system when no task has needed them for
/// two to four seconds, and at once when they are more than a share of the memory that is
/// available. Sleeps while little is kept: a process that frees a block then wakes it.
class PayloadTrimmer {
public:
    explicit PayloadTrimmer(const shm::Payload& payload) : payload_(payload) {}

    /// Trims for some milliseconds if it is time. Returns when to call it again.
    detail::Deadline look();

    /// Returns all kept pages, and those of blocks that are freed from now on, because no worker is
    /// left. Ends early if `is_urgent()`.
    void finish(const std::function<bool()>& is_urgent);

private:
    void begin_pass();

    const shm::Payload& payload_;
    detail::Deadline next_pass_ = detail::Deadline::now();
    bool is_awake_ = false;
    std::optional<shm::Payload::Pass> pass_; ///< the one at work
    shm::Payload::Trim which_ = shm::Payload::Trim::aged;
};

} // namespace prong::executor
