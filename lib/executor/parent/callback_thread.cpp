#include <prong/detail/async_call.hpp>
#include <prong/detail/completion_set.hpp>

#include "executor/parent/core.hpp"
#include "os/blocked_signals.hpp"

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace prong::detail {
namespace {

thread_local bool is_callback_thread = false;

} // namespace

class CallbackThread::State {
public:
    explicit State(executor::PoolCore& core) : pool_(core) {}

    void start(const std::shared_ptr<State>& self);
    void add(std::shared_ptr<AsyncCall> call);
    void stop() noexcept;
    void wait_until_idle();
    void end();

private:
    using Call = std::shared_ptr<AsyncCall>;
    /// A call, and how many of its tasks have not ended.
    struct Watched {
        Call call;
        std::size_t tasks;
    };

    void run();
    void watch(Call call);
    void run_ended(std::size_t number);
    /// Makes the thread look at what has changed.
    void interrupt() noexcept;

    PoolReference pool_;
    std::unique_ptr<std::thread> thread_;

    std::mutex mutex_; ///< guards the next three
    std::vector<Call> added_;
    std::size_t unfinished_ = 0; ///< calls whose callback has neither run nor been skipped
    bool stopped_ = false;
    std::condition_variable changed_;
    std::atomic<bool> interrupted_ = false;

    // Of the thread alone.
    CompletionSet tasks_;
    std::unordered_map<std::size_t, Watched> watched_;
    std::size_t next_number_ = 0;
};

void CallbackThread::State::start(const std::shared_ptr<State>& self) {
    const std::lock_guard lock(mutex_);
    if (thread_) return;
    const os::BlockedSignals blocked; // in the new thread
    thread_ = std::make_unique<std::thread>([self] { self->run(); });
}

void CallbackThread::State::add(Call call) {
    std::unique_lock lock(mutex_);
    if (stopped_) {
        lock.unlock(); // what the callback holds may use the pool
        return call->skip_callback();
    }
    added_.push_back(std::move(call));
    ++unfinished_;
    interrupt();
}

void CallbackThread::State::stop() noexcept {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    interrupt();
}

void CallbackThread::State::interrupt() noexcept {
    changed_.notify_all();
    interrupted_.store(true);
    pool_.core().state().notify_completion();
}

void CallbackThread::State::wait_until_idle() {
    std::unique_lock lock(mutex_);
    if (thread_ && thread_->get_id() == std::this_thread::get_id())
        throw std::logic_error("join() was called in a callback of the same Pool: the callback "
                               "would wait for itself");
    changed_.wait(lock, [this] { return unfinished_ == 0; });
}

/// Runs until `stop`. Sleeps on the condition variable while there is no task to wait for.
void CallbackThread::State::run() {
    is_callback_thread = true;
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return stopped_ || !added_.empty() || !watched_.empty(); });
        if (stopped_) break;
        interrupted_.store(false);
        std::vector<Call> added = std::exchange(added_, {});
        lock.unlock();
        for (Call& call : added) watch(std::move(call));
        if (tasks_.wait(Deadline::never(), &interrupted_)) {
            for (const std::size_t number : tasks_.ended()) {
                if (--watched_.at(number).tasks == 0) run_ended(number);
            }
        }
        lock.lock();
    }
    const std::vector<Call> added = std::exchange(added_, {});
    lock.unlock(); // what a callback holds may use the pool
    for (const Call& call : added) call->skip_callback();
    for (const auto& [number, watched] : watched_) watched.call->skip_callback();
    watched_.clear();
    lock.lock();
    unfinished_ = 0;
    changed_.notify_all();
}

void CallbackThread::State::watch(Call call) {
    const std::size_t number = next_number_++;
    const std::vector<CallTask>& tasks = call->tasks();
    watched_.emplace(number, Watched{.call = std::move(call), .tasks = tasks.size()});
    for (const CallTask& task : tasks) tasks_.add(task.handle, number);
    if (tasks.empty()) run_ended(number);
}

void CallbackThread::State::run_ended(std::size_t number) {
    {
        const std::lock_guard lock(mutex_);
        if (stopped_) return;
    }
    watched_.extract(number).mapped().call->run_callback();
    const std::lock_guard lock(mutex_);
    --unfinished_;
    changed_.notify_all();
}

void CallbackThread::State::end() {
    if (pool_.core().is_copy()) {
        static_cast<void>(thread_.release()); // this process does not have it
        return;
    }
    stop();
    if (!thread_) return;
    if (thread_->get_id() == std::this_thread::get_id())
        thread_->detach(); // a callback destroys the pool
    else
        thread_->join();
}

CallbackThread::CallbackThread(executor::PoolCore& core) : state_(std::make_shared<State>(core)) {}
CallbackThread::~CallbackThread() {
    state_->end();
}
void CallbackThread::start() {
    state_->start(state_);
}
void CallbackThread::add(std::shared_ptr<AsyncCall> call) {
    state_->add(std::move(call));
}
void CallbackThread::stop() noexcept {
    state_->stop();
}
void CallbackThread::wait_until_idle() {
    state_->wait_until_idle();
}
bool CallbackThread::is_current() noexcept {
    return is_callback_thread;
}

} // namespace prong::detail
