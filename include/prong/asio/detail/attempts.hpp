#pragma once

#include <prong/asio/config.hpp>
#include <prong/asio/detail/initiate.hpp>
#include <prong/detail/async_members.hpp>

#include <unistd.h>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

/// \file
/// Operations that try something again whenever a descriptor is readable.

namespace prong::detail {

/// An operation of an event loop. Everything runs in the handler's executor, nothing in the
/// initiating function. An `Attempt` has:
///
///   Result attempt(Cancellable&)    tries, without blocking; returns an optional tuple of the
///                                   handler's arguments, nothing if it is too early
///   int watch()                     opens a descriptor that is readable when it is worth trying
///                                   again; -1: it is now
///   bool gives_up(type)             returns whether a cancellation ends the operation
///   Result cancelled()              returns the handler's arguments after a cancellation
///   Result failed(exception_ptr)    returns them after an exception
///
/// Thread safety: `cancel` may run beside everything else.
template <typename Attempt, typename Handler, typename Executor>
class AttemptOperation final
    : public Cancellable,
      public std::enable_shared_from_this<AttemptOperation<Attempt, Handler, Executor>> {
    using HandlerExecutor = net::associated_executor_t<Handler, Executor>;
    using HandlerAllocator = net::associated_allocator_t<Handler>;
    using Pointer = std::shared_ptr<AttemptOperation>;
    using Result = decltype(std::declval<Attempt&>().attempt(std::declval<Cancellable&>()));

    /// Goes on with the operation, which ends with the last of these.
    struct Step {
        Pointer operation;

        using executor_type = HandlerExecutor;
        using allocator_type = HandlerAllocator;
        executor_type get_executor() const noexcept {
            return net::get_associated_executor(operation->handler_, operation->executor_);
        }
        allocator_type get_allocator() const noexcept {
            return net::get_associated_allocator(operation->handler_);
        }
        void operator()() { (*this)(ErrorCode()); }
        void operator()(const ErrorCode& error) {
            if (auto result = operation->advance(error))
                complete(std::move(operation), std::move(*result));
        }
    };

public:
    AttemptOperation(Handler&& handler, const Executor& executor, Attempt&& attempt)
        : executor_(executor), handler_(std::move(handler)), work_(executor),
          handler_work_(net::get_associated_executor(handler_, executor)),
          attempt_(std::in_place, std::move(attempt)) {}

    static void start(Attempt attempt, Handler handler, const Executor& executor) {
        const HandlerAllocator allocator = net::get_associated_allocator(handler);
        const Pointer operation = std::allocate_shared<AttemptOperation>(
            allocator, std::move(handler), executor, std::move(attempt));
        auto slot = net::get_associated_cancellation_slot(operation->handler_);
        if (slot.is_connected()) {
            slot.assign([pending = operation->weak_from_this()](net::cancellation_type type) {
                if (const Pointer self = pending.lock()) self->cancel(type);
            });
        }
        net::post(executor, Step{operation}); // which dispatches to the handler's executor
    }

    void cancel() noexcept override { cancel(net::cancellation_type::terminal); }

private:
    void cancel(net::cancellation_type type) noexcept {
        const std::lock_guard lock(mutex_);
        cancelled_ = cancelled_ | type;
        ErrorCode ignored;
        if (descriptor_) descriptor_->cancel(ignored);
    }

    bool gives_up() {
        const std::lock_guard lock(mutex_);
        const auto type = std::exchange(cancelled_, net::cancellation_type::none);
        return type != net::cancellation_type::none && attempt_->gives_up(type);
    }

    /// Tries, then waits. Returns the handler's arguments if there is nothing to wait for.
    Result advance(const ErrorCode& error) {
        try {
            if (error && error != net::error::operation_aborted) throw_error(error, "async_wait");
            for (;;) {
                if (gives_up()) return attempt_->cancelled();
                if (Result result = attempt_->attempt(*this)) return result;
                if (!descriptor_ && !open_descriptor()) continue;
                const std::lock_guard lock(mutex_);
                if (cancelled_ != net::cancellation_type::none) continue;
                // Another thread may go on from here.
                descriptor_->async_wait(Descriptor::wait_read, Step{this->shared_from_this()});
                return std::nullopt;
            }
        } catch (...) {
            return attempt_->failed(std::current_exception());
        }
    }

    bool open_descriptor() {
        const int fd = attempt_->watch();
        if (fd < 0) return false;
        Descriptor descriptor(executor_);
        ErrorCode error;
        descriptor.assign(fd, error);
        if (error) {
            ::close(fd);
            throw_error(error, "epoll_ctl");
        }
        const std::lock_guard lock(mutex_);
        descriptor_.emplace(std::move(descriptor));
        return true;
    }

    [[noreturn]] static void throw_error(const ErrorCode& error, const char* call) {
        throw std::system_error(error.value(), std::system_category(), call);
    }

    /// Ends the operation before its handler runs, which may start another one.
    static void complete(Pointer operation, typename Result::value_type result) {
        auto slot = net::get_associated_cancellation_slot(operation->handler_);
        if (slot.is_connected()) slot.clear();
        operation->attempt_.reset(); // another thread may still be leaving the operation
        Handler handler(std::move(operation->handler_));
        operation.reset();
        std::apply(std::move(handler), std::move(result));
    }

    using Descriptor = net::posix::basic_stream_descriptor<Executor>;

    Executor executor_;
    Handler handler_;
    // Both contexts have work until the handler runs.
    net::executor_work_guard<Executor> work_;
    net::executor_work_guard<HandlerExecutor> handler_work_;
    std::mutex mutex_; ///< guards the next two
    net::cancellation_type cancelled_ = net::cancellation_type::none;
    std::optional<Descriptor> descriptor_;
    std::optional<Attempt> attempt_; ///< destroyed first: `cancel` is not called any more
};

/// Starts an operation. The other arguments are an executor or a context, or none; then a
/// completion token, or none.
template <typename Signature, typename Attempt, typename Token = net::use_awaitable_t<>>
    requires(!ExecutorOrContext<Token>)
auto start_attempts(Attempt&& attempt, Token&& token = Token()) {
    return initiate_operation<AttemptOperation, Signature>(std::forward<Token>(token),
                                                           std::forward<Attempt>(attempt));
}
template <typename Signature, typename Attempt, ExecutorOrContext Where,
          typename Token = net::use_awaitable_t<>>
auto start_attempts(Attempt&& attempt, Where&& where, Token&& token = Token()) {
    return initiate_operation_in<AttemptOperation, Signature>(
        std::forward<Where>(where), std::forward<Token>(token), std::forward<Attempt>(attempt));
}

/// What attempts have in common whose handlers get an exception, or else values.
template <typename... Values>
struct ThrowingAttempt {
    using Result = std::optional<std::tuple<std::exception_ptr, Values...>>;

    static bool gives_up(net::cancellation_type) { return true; }
    static Result cancelled() {
        return failed(std::make_exception_ptr(SystemError(net::error::operation_aborted)));
    }
    static Result failed(std::exception_ptr error) {
        return std::tuple<std::exception_ptr, Values...>(std::move(error), Values()...);
    }
};

} // namespace prong::detail
