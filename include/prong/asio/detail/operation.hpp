#pragma once

#include <prong/asio/config.hpp>
#include <prong/asio/detail/initiate.hpp>
#include <prong/asio/detail/loop_service.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <mutex>
#include <tuple>
#include <type_traits>
#include <utility>

namespace prong::detail {

/// Passes cancellations on to an operation, which may have ended before its slot does.
class Canceller {
public:
    explicit Canceller(LoopOperation& operation) : operation_(&operation) {}

    void cancel(net::cancellation_type type) noexcept {
        const std::lock_guard lock(mutex_);
        if (operation_ != nullptr) operation_->cancel(type);
    }
    void forget_operation() noexcept {
        const std::lock_guard lock(mutex_);
        operation_ = nullptr;
    }

private:
    std::mutex mutex_;
    LoopOperation* operation_;
};

/// An operation by Asio's conventions. The body says what it waits for and with what it completes:
///
///     using Signature = …;
///     bool is_ready(LoopService&);                           // throws: the operation fails
///     void wait(LoopService&, LoopOperation&, const net::any_io_executor&);
///     void cancel(LoopOperation&, net::cancellation_type) noexcept;
///     auto finish(std::exception_ptr error);                 // std::tuple, for the handler
template <typename Body, typename Handler, typename Executor>
class HandlerOperation final : public LoopOperation {
public:
    /// Begins the operation.
    static void start(Body body, Handler handler, const Executor& executor) {
        Allocator allocator(net::get_associated_allocator(handler));
        HandlerOperation* const place = Traits::allocate(allocator, 1);
        HandlerOperation& operation =
            *std::construct_at(place, std::move(body), std::move(handler), executor);
        Owner owner(&operation);
        operation.connect_slot();
        static_cast<void>(owner.release()); // the operation owns itself
        operation.wait(executor);
    }

    HandlerOperation(Body&& body, Handler&& handler, const Executor& executor)
        : body_(std::move(body)), handler_(std::move(handler)), work_(executor),
          handler_work_(net::get_associated_executor(handler_, executor)) {}
    ~HandlerOperation() { disconnect_slot(); }

    void complete(bool is_continuation) noexcept override {
        const Executor executor = work_.get_executor();
        Completion completion(*this);
        if (is_continuation)
            net::defer(executor, std::move(completion));
        else
            net::post(executor, std::move(completion));
    }
    void destroy() noexcept override {
        Allocator allocator(net::get_associated_allocator(handler_));
        std::destroy_at(this);
        Traits::deallocate(allocator, this, 1);
    }
    void cancel(net::cancellation_type type) noexcept override { body_.cancel(*this, type); }
    bool try_finish() noexcept override {
        if constexpr (requires { body_.try_finish(); }) {
            try {
                return body_.try_finish();
            } catch (...) {
                fail(std::current_exception());
            }
        }
        return true;
    }

private:
    using HandlerExecutor = net::associated_executor_t<Handler, Executor>;
    using HandlerAllocator = net::associated_allocator_t<Handler>;
    using Traits =
        typename std::allocator_traits<HandlerAllocator>::template rebind_traits<HandlerOperation>;
    using Allocator = typename Traits::allocator_type;
    struct Destroy {
        void operator()(HandlerOperation* operation) const noexcept { operation->destroy(); }
    };
    using Owner = std::unique_ptr<HandlerOperation, Destroy>;

    /// Runs in the context that has waited, then in the handler's executor, and calls the handler
    /// there. (Where the latter dispatches at once, as that of `use_future` does, no thread of the
    /// system context must be needed.)
    class Completion {
    public:
        using allocator_type = HandlerAllocator;

        explicit Completion(HandlerOperation& operation)
            : allocator_(net::get_associated_allocator(operation.handler_)), owner_(&operation) {}

        [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_; }

        void operator()() && {
            const HandlerExecutor executor = owner_->handler_work_.get_executor();
            if (!std::exchange(is_dispatched_, true) &&
                !is_same(owner_->work_.get_executor(), executor))
                return net::dispatch(executor, std::move(*this));
            owner_->disconnect_slot();
            // The operation's memory is free again when the handler begins the next one.
            const auto work = std::move(owner_->work_);
            const auto handler_work = std::move(owner_->handler_work_);
            Handler handler = std::move(owner_->handler_);
            Body body = std::move(owner_->body_);
            std::exception_ptr error = std::move(owner_->failure_);
            Allocator allocator(allocator_);
            std::destroy_at(owner_.get());
            Traits::deallocate(allocator, owner_.release(), 1);
            std::apply(std::move(handler), body.finish(std::move(error)));
        }

    private:
        template <typename Other>
        static bool is_same(const Other& one, const HandlerExecutor& other) {
            if constexpr (std::same_as<Other, HandlerExecutor>)
                return one == other;
            else
                return false;
        }

        allocator_type allocator_;
        Owner owner_;
        bool is_dispatched_ = false;
    };

    void connect_slot() {
        auto slot = net::get_associated_cancellation_slot(handler_);
        if (!slot.is_connected()) return;
        canceller_ = std::make_shared<Canceller>(*this);
        slot.assign(
            [canceller = canceller_](net::cancellation_type type) { canceller->cancel(type); });
    }

    void disconnect_slot() noexcept {
        if (canceller_) canceller_->forget_operation();
        canceller_ = nullptr;
    }

    void wait(const Executor& executor) {
        try {
            auto& service = net::use_service<LoopService>(context_of(executor));
            if (!body_.is_ready(service)) {
                body_.wait(service, *this, loop_executor(executor));
                return; // it may have ended by now
            }
        } catch (...) {
            fail(std::current_exception());
        }
        complete(false);
    }

    Body body_;
    Handler handler_;
    net::executor_work_guard<Executor> work_;
    net::executor_work_guard<HandlerExecutor> handler_work_;
    std::shared_ptr<Canceller> canceller_; ///< null: the handler has no cancellation slot
};

template <typename Body, typename Token>
auto initiate(Token&& token, Body body) {
    return initiate_operation<HandlerOperation, typename Body::Signature>(
        std::forward<Token>(token), std::move(body));
}
template <typename Body, ExecutorOrContext Where, typename Token>
auto initiate_in(Where&& where, Token&& token, Body body) {
    return initiate_operation_in<HandlerOperation, typename Body::Signature>(
        std::forward<Where>(where), std::forward<Token>(token), std::move(body));
}

} // namespace prong::detail
