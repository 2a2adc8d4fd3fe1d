#pragma once

#include <prong/detail/async_call.hpp>
#include <prong/error.hpp>
#include <prong/timeout.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <utility>

namespace prong {

/// Result of an asynchronous call of a `Pool`, available once all of its tasks have ended and its
/// callback has run.
///
/// Can be copied; copies refer to the same result. `get` may be called any number of times, and
/// returns a new object each time, decoded from the pool's memory. The memory is freed with the
/// last copy. Destroying an `AsyncResult` neither waits nor cancels. Stays valid after the pool is
/// destroyed.
///
/// Inside a callback no call waits for callbacks: results are available when their tasks have
/// ended.
///
/// Thread safety: any number of threads may use an `AsyncResult` and its copies at once.
///
/// Process safety: like that of `Future`. After `Pool::terminate` and the pool's destruction, calls
/// that had not ended throw `CancelledError` or `WorkerDied`. Waits never hang.
template <typename R>
class AsyncResult {
public:
    /// Called by `Pool`.
    AsyncResult(std::shared_ptr<const detail::AsyncCall> call,
                R (*decode)(const detail::AsyncCall&))
        : call_(std::move(call)), decode_(decode) {}
    /// Refers to the same result. There is no move: the source stays valid.
    AsyncResult(const AsyncResult&) = default;
    /// Refers to the same result from now on.
    AsyncResult& operator=(const AsyncResult&) = default;
    ~AsyncResult() = default;

    /// Blocks until the result is available. Returns it, or *throws* like `Future::get`; for a map,
    /// the first error in input order. Throws the callback's exception if it has thrown.
    R get() const {
        wait();
        return decoded();
    }
    /// Like `get()`, but throws `TimeoutError` if the result is not available after `timeout`. The
    /// call continues.
    R get_for(Timeout timeout) const {
        if (!wait_for(timeout))
            throw TimeoutError("the result was not there in time; the call goes on, wait again");
        return decoded();
    }

    /// Blocks until the result is available.
    void wait() const { static_cast<void>(wait_for(std::nullopt)); }
    /// Blocks until the result is available, at most `timeout` (0: does not block). Returns whether
    /// it is.
    bool wait_for(Timeout timeout) const {
        return call_->wait_until(detail::Deadline::after(timeout));
    }

    /// Returns whether the result is available: `get` would not block.
    [[nodiscard]] bool ready() const { return wait_for(std::chrono::nanoseconds(0)); }
    /// Returns whether `get` would return a result, and not throw. Decodes it. *Throws*
    /// `std::logic_error` if the result is not available yet.
    [[nodiscard]] bool successful() const {
        if (!ready())
            throw std::logic_error("successful() was called before the result was there: call "
                                   "wait() first, or ask ready()");
        try {
            static_cast<void>(decoded());
            return true;
        } catch (...) {
            return false;
        }
    }

private:
    R decoded() const {
        call_->require_no_callback_error();
        return decode_(*call_);
    }

    std::shared_ptr<const detail::AsyncCall> call_;
    R (*decode_)(const detail::AsyncCall&);
};

} // namespace prong
