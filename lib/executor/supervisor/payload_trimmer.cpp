#include "executor/supervisor/payload_trimmer.hpp"

#include "shm/region.hpp"

#include <algorithm>
#include <chrono>

namespace prong::executor {
namespace {

/// A block that was not needed for one to two intervals is trimmed.
constexpr std::chrono::seconds pass_interval{1};

/// How long the trimmer waits for `Payload::reset`.
constexpr std::chrono::milliseconds reset_delay{10};

/// Free blocks keep at most this part of the memory that is available to new tasks with them.
constexpr std::uint64_t kept_part = 4;

/// Returns how many bytes free blocks may keep.
std::uint64_t share(std::uint64_t kept) {
    const std::uint64_t available = shm::available_memory();
    return std::max<std::uint64_t>((available + std::min(kept, ~available)) / kept_part, 1);
}

} // namespace

detail::Deadline PayloadTrimmer::look() {
    if (!is_awake_) {
        // The bytes that it was woken for may be in use again.
        if (payload_.end_trimming({})) return detail::Deadline::never();
        is_awake_ = true;
    }
    if (!pass_) {
        if (!next_pass_.passed()) return next_pass_;
        begin_pass();
    }
    if (!payload_.forbid_reset()) return detail::Deadline::after(reset_delay);
    const bool is_complete = payload_.trim(*pass_, which_);
    payload_.permit_reset();
    if (!is_complete) return detail::Deadline::now();
    is_awake_ = !payload_.end_trimming(*pass_);
    pass_.reset();
    return is_awake_ ? next_pass_ : detail::Deadline::never();
}

void PayloadTrimmer::finish(const std::function<bool()>& is_urgent) {
    payload_.limit_kept_bytes(1);
    if (payload_.kept_bytes() <= shm::Payload::idle_bytes || !payload_.forbid_reset()) return;
    shm::Payload::Pass pass;
    while (!is_urgent() && !payload_.trim(pass, shm::Payload::Trim::all)) {
    }
    payload_.permit_reset();
}

void PayloadTrimmer::begin_pass() {
    const std::uint64_t kept = payload_.kept_bytes();
    const std::uint64_t most = share(kept);
    payload_.limit_kept_bytes(most);
    payload_.begin_epoch();
    which_ = kept > most ? shm::Payload::Trim::all : shm::Payload::Trim::aged;
    pass_.emplace();
    next_pass_ = detail::Deadline::after(pass_interval);
}

} // namespace prong::executor
