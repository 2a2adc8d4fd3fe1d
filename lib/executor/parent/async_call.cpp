#include <prong/detail/async_call.hpp>

#include "executor/parent/core.hpp"
#include "os/futex.hpp"

#include <algorithm>
#include <chrono>

namespace prong::detail {

void AsyncCall::set_callback(std::function<void()> callback) {
    callback_ = std::move(callback);
    callback_pending_.store(1, std::memory_order_relaxed);
}

bool AsyncCall::wait_until(Deadline limit) const {
    pool_.core().require_own_process();
    const bool have_ended = std::ranges::all_of(
        tasks_, [&](const CallTask& task) { return task.handle.wait_until(limit); });
    if (!have_ended) return false;
    while (callback_pending_.load(std::memory_order_acquire) != 0) {
        if (CallbackThread::is_current()) break;
        if (limit.passed()) return false;
        const std::chrono::nanoseconds slice =
            limit.is_never() ? std::chrono::nanoseconds(-1) : limit.left(std::chrono::hours(1));
        os::futex_wait(callback_pending_, 1, slice);
    }
    return true;
}

void AsyncCall::require_no_callback_error() const {
    if (callback_error_) std::rethrow_exception(callback_error_);
}

void AsyncCall::run_callback() noexcept {
    try {
        callback_();
    } catch (...) {
        callback_error_ = std::current_exception();
    }
    skip_callback();
}

void AsyncCall::skip_callback() noexcept {
    callback_ = nullptr; // what it holds is destroyed before a wait returns
    callback_pending_.store(0, std::memory_order_release);
    os::futex_wake(callback_pending_, os::everyone);
}

} // namespace prong::detail
