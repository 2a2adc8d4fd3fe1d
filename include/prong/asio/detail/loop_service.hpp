#pragma once

#include <prong/asio/config.hpp>
#include <prong/detail/completion_port.hpp>
#include <prong/detail/pool_end.hpp>
#include <prong/detail/pool_reference.hpp>
#include <prong/detail/task_handle.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <boost/intrusive/list.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

namespace prong::detail {

class LoopService;
struct PoolWatch;

/// An operation that waits in a context for something of a pool. It owns itself: the
/// caller that takes it out of its service calls `complete` or `destroy`.
class LoopOperation : public AwaitedTask, public boost::intrusive::list_base_hook<> {
public:
    /// Sets the error with which the operation completes. Null: it has succeeded.
    void fail(std::exception_ptr error) noexcept { failure_ = std::move(error); }

    /// Hands the operation over to the context in which it waits, and to its handler's executor.
    /// Never calls the handler itself. `is_continuation`: the caller is done then, so that the
    /// handler may follow in its thread.
    virtual void complete(bool is_continuation) noexcept = 0;
    virtual void destroy() noexcept = 0;

    virtual void cancel(net::cancellation_type type) noexcept = 0;
    /// Lets the operation complete with `operation_aborted` if it still waits.
    void abort() noexcept;

    /// Tries to finish an operation that waits for no task. Returns whether it has, or has failed.
    virtual bool try_finish() noexcept = 0;

    void ended() noexcept final;

    /// Where the operation waits. Guarded by the service, except for reads of `service`.
    struct Place {
        std::atomic<LoopService*> service = nullptr; ///< null: it does not wait
        std::shared_ptr<PoolWatch> watch;
        boost::intrusive::list<LoopOperation>* list = nullptr;
    };
    Place place;

protected:
    LoopOperation() = default;
    ~LoopOperation() = default;

    std::exception_ptr failure_;
};

using LoopOperations = boost::intrusive::list<LoopOperation>;

/// What a context watches of one pool, as long as operations wait for something of it.
struct PoolWatch {
    PoolWatch(executor::PoolCore& core, const net::any_io_executor& executor)
        : pool(core), port(CompletionPort::of(core)), readable(executor), tick(executor),
          end(executor) {
        assign(readable, ::fcntl(port.fd(), F_DUPFD_CLOEXEC, 3));
    }

    /// Makes `descriptor` the owner of `fd`, if that is one. Where the system refuses that, the
    /// ticks must do.
    static void assign(net::posix::stream_descriptor& descriptor, int fd) {
        ErrorCode error;
        if (fd >= 0) descriptor.assign(fd, error);
        if (error) ::close(fd);
    }

    [[nodiscard]] bool is_idle() const noexcept {
        return awaiting.empty() && submitting.empty() && polling.empty();
    }
    /// Returns whether the end of a task is worth polling for. Those of many are better found
    /// together.
    [[nodiscard]] bool is_pollable() const noexcept {
        return !awaiting.empty() && awaiting.size() <= few_awaited;
    }
    void close() noexcept {
        ErrorCode ignored;
        readable.close(ignored);
        end.close(ignored);
        tick.cancel();
    }

    PoolReference pool;
    CompletionPort& port;
    net::posix::stream_descriptor readable; ///< a copy of the port's
    net::steady_timer tick;
    net::posix::stream_descriptor end; ///< readable at the supervisor's end, if that is waited for
    bool is_waiting = false;           ///< for `readable`
    bool is_ticking = false;
    bool is_polling = false;   ///< a handler is queued that polls the port
    bool polls_anew = false;   ///< polling has begun, or a task has ended, since the last poll
    bool is_closing = false;   ///< a handler is queued that closes it if it is idle
    LoopOperations awaiting;   ///< a task's end, in the port
    LoopOperations submitting; ///< in order: room
    LoopOperations polling;    ///< something else that `try_finish` looks for

    static constexpr std::size_t few_awaited = 8;
};

/// The operations that wait in a context, and what the context watches for them. Without such
/// operations it watches nothing.
///
/// Thread safety: any thread. A thread that runs another context may end operations of this one.
class LoopService final : public net::execution_context::service {
public:
    using key_type = LoopService;
    static inline net::execution_context::id id;

    explicit LoopService(net::execution_context& context)
        : net::execution_context::service(context) {}

    /// Lets the operation wait for a task, which stays in place meanwhile. Throws, such as
    /// `std::bad_alloc`, before the operation waits.
    void await(LoopOperation& operation, const TaskHandle& task,
               const net::any_io_executor& executor) {
        const std::lock_guard lock(mutex_);
        const Watch watch = watch_of(task.core(), executor);
        enter(operation, watch, watch->awaiting);
        bool waits = false;
        try {
            const bool is_polled = watch->is_pollable();
            if (is_polled) begin_polling(watch);
            waits = watch->port.add(task, operation, is_polled);
        } catch (...) {
            leave(operation);
            close_later(watch);
            throw;
        }
        if (!waits) end(operation, false);
    }

    /// Lets the operation wait for room in the pool, until `try_finish` returns true. Throws like
    /// `await`.
    void await_room(LoopOperation& operation, executor::PoolCore& pool,
                    const net::any_io_executor& executor) {
        const std::lock_guard lock(mutex_);
        const Watch watch = watch_of(pool, executor);
        enter(operation, watch, watch->submitting);
        // Those before it may have had their turn since it has looked.
        if (&watch->submitting.front() == &operation) finish(operation);
    }

    /// Returns whether operations wait for room in the pool.
    bool is_full(const executor::PoolCore& pool) {
        const std::lock_guard lock(mutex_);
        const auto found = find(pool);
        return found != watches_.end() && !(*found)->submitting.empty();
    }

    /// Lets the operation wait until `try_finish` returns true; it is called when a task ends, and
    /// from time to time. Throws like `await`.
    void poll(LoopOperation& operation, executor::PoolCore& pool,
              const net::any_io_executor& executor) {
        const std::lock_guard lock(mutex_);
        const Watch watch = watch_of(pool, executor);
        enter(operation, watch, watch->polling);
        finish(operation); // what it waits for may have come since it has looked
    }

    /// Lets the operation wait for the pool's end, until `try_finish` returns true. Throws like
    /// `await`.
    void await_end(LoopOperation& operation, const PoolEnd& end,
                   const net::any_io_executor& executor) {
        const std::lock_guard lock(mutex_);
        const Watch watch = watch_of(end.pool(), executor);
        enter(operation, watch, watch->polling);
        try {
            if (!watch->end.is_open()) PoolWatch::assign(watch->end, end.watch());
            watch->end.async_wait(net::posix::stream_descriptor::wait_read,
                                  [this, watch](ErrorCode error) {
                                      const std::lock_guard again(mutex_);
                                      if (!error) go_on(watch);
                                  });
        } catch (const std::exception&) { // the ticks must do
        }
    }

    /// Completes the operation with `operation_aborted`, unless it waits no longer.
    void abort(LoopOperation& operation) noexcept {
        const std::lock_guard lock(mutex_);
        PoolWatch* const watch = operation.place.watch.get();
        if (watch == nullptr) return;
        const bool awaits = operation.place.list == &watch->awaiting;
        if (awaits && !watch->port.remove(operation)) return; // another thread is ending it
        operation.fail(std::make_exception_ptr(SystemError(net::error::operation_aborted)));
        end(operation, false);
    }

    /// Called by whichever thread finds that the operation's task has ended.
    void ended(LoopOperation& operation) noexcept {
        const std::lock_guard lock(mutex_);
        operation.place.watch->polls_anew = true;
        end(operation, true);
        if (is_shut_down_) all_ended_.notify_all();
    }

private:
    using Watch = std::shared_ptr<PoolWatch>;

    void shutdown() override {
        LoopOperations left;
        std::vector<Watch> watches;
        {
            std::unique_lock lock(mutex_);
            is_shut_down_ = true;
            const auto take = [&](LoopOperation& operation) {
                leave(operation);
                left.push_back(operation);
            };
            for (const Watch& watch : watches_) {
                while (!watch->submitting.empty()) take(watch->submitting.front());
                while (!watch->polling.empty()) take(watch->polling.front());
                for (auto next = watch->awaiting.begin(); next != watch->awaiting.end();) {
                    LoopOperation& operation = *next++;
                    if (watch->port.remove(operation)) take(operation);
                }
            }
            // Another context's thread is ending the others.
            all_ended_.wait(lock, [this] {
                return std::ranges::all_of(watches_, [](auto& watch) { return watch->is_idle(); });
            });
            watches.swap(watches_);
        }
        for (const Watch& watch : watches) watch->close();
        left.clear_and_dispose([](LoopOperation* operation) { operation->destroy(); });
    }

    /// In a forked process, the pools are not this process's.
    void notify_fork(net::execution_context::fork_event event) override {
        // The thread that holds the mutex does not exist in the child.
        if (event == net::execution_context::fork_prepare) return mutex_.lock();
        const std::lock_guard lock(mutex_, std::adopt_lock);
        if (event == net::execution_context::fork_parent) return;
        const auto refuse = [this](LoopOperation& operation) {
            operation.fail(std::make_exception_ptr(std::logic_error(
                "this process was forked while an operation waited for a pool: the pool belongs "
                "to the process that created it")));
            end(operation, false);
        };
        for (const Watch& watch : watches_) {
            for (LoopOperations* const list :
                 {&watch->awaiting, &watch->submitting, &watch->polling}) {
                while (!list->empty()) refuse(list->front());
            }
        }
    }

    std::vector<Watch>::iterator find(const executor::PoolCore& pool) {
        return std::ranges::find(watches_, &pool,
                                 [](const Watch& watch) { return &watch->pool.core(); });
    }

    const Watch& watch_of(executor::PoolCore& pool, const net::any_io_executor& executor) {
        const auto found = find(pool);
        if (found != watches_.end()) return *found;
        return watches_.emplace_back(std::make_shared<PoolWatch>(pool, executor));
    }

    void enter(LoopOperation& operation, const Watch& watch, LoopOperations& list) {
        try {
            watch_on(watch);
        } catch (...) {
            close_later(watch);
            throw;
        }
        operation.place.service.store(this);
        operation.place.watch = watch;
        operation.place.list = &list;
        list.push_back(operation);
    }

    Watch leave(LoopOperation& operation) {
        operation.place.service.store(nullptr);
        operation.place.list->erase(LoopOperations::s_iterator_to(operation));
        return std::exchange(operation.place.watch, nullptr);
    }

    void end(LoopOperation& operation, bool is_continuation) {
        const Watch watch = leave(operation);
        operation.complete(is_continuation);
        close_later(watch);
    }

    void watch_on(const Watch& watch) {
        if (!watch->is_waiting) {
            watch->readable.async_wait(net::posix::stream_descriptor::wait_read,
                                       [this, watch](ErrorCode error) {
                                           if (!error) on_readable(watch);
                                       });
            watch->is_waiting = true;
        }
        if (!watch->is_ticking) {
            watch->tick.expires_after(CompletionPort::check_interval);
            watch->tick.async_wait([this, watch](ErrorCode error) {
                if (!error) on_tick(watch);
            });
            watch->is_ticking = true;
        }
    }

    void on_readable(const Watch& watch) {
        watch->port.drain();
        const std::lock_guard lock(mutex_);
        watch->is_waiting = false;
        go_on(watch);
    }

    /// Lets the loop look for a while, between other handlers, before it waits for the port: tasks
    /// are often short.
    void begin_polling(const Watch& watch) {
        if (watch->is_polling) return;
        poll_soon(watch);
        watch->is_polling = watch->polls_anew = true;
    }

    void poll_soon(const Watch& watch) {
        net::defer(watch->readable.get_executor(), [this, watch] { on_poll(watch); });
    }

    void on_poll(const Watch& watch) {
        if (!poll_port(watch)) watch->port.drain(); // arms it for what was polled for
    }

    /// Polls. Returns false if the context is to wait for the port from now on.
    bool poll_port(const Watch& watch) {
        std::unique_lock lock(mutex_);
        const bool begins_anew = std::exchange(watch->polls_anew, false);
        lock.unlock();
        const bool may_go_on = watch->port.poll(begins_anew);
        lock.lock();
        if (!watch->submitting.empty() || !watch->polling.empty()) go_on(watch);
        watch->is_polling = false;
        if (watch->awaiting.empty()) return true; // there is nothing to wait for
        if (!may_go_on || !watch->is_pollable()) return false;
        try {
            poll_soon(watch);
        } catch (const std::exception&) { // no memory
            return false;
        }
        return watch->is_polling = true;
    }

    void on_tick(const Watch& watch) {
        watch->port.check();
        const std::lock_guard lock(mutex_);
        watch->is_ticking = false;
        go_on(watch);
    }

    void go_on(const Watch& watch) {
        while (!watch->submitting.empty() && finish(watch->submitting.front())) {
        }
        for (auto next = watch->polling.begin(); next != watch->polling.end();) finish(*next++);
        if (!watch->is_idle()) watch_on(watch);
    }

    bool finish(LoopOperation& operation) {
        if (!operation.try_finish()) return false;
        end(operation, true);
        return true;
    }

    /// Not at once: the handler that runs before often starts the next operation.
    void close_later(const Watch& watch) {
        if (!watch->is_idle() || watch->is_closing) return;
        net::defer(watch->readable.get_executor(), [this, watch] {
            const std::lock_guard lock(mutex_);
            watch->is_closing = false;
            if (watch->is_idle() && std::erase(watches_, watch) != 0) watch->close();
        });
        watch->is_closing = true;
    }

    std::mutex mutex_;
    std::condition_variable all_ended_;
    bool is_shut_down_ = false;
    std::vector<Watch> watches_;
};

inline void LoopOperation::ended() noexcept {
    place.service.load()->ended(*this);
}

inline void LoopOperation::abort() noexcept {
    if (LoopService* const service = place.service.load()) service->abort(*this);
}

} // namespace prong::detail
