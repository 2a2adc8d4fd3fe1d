#include "executor/worker/this_task.hpp"

#include "os/blocked_signals.hpp"
#include "os/fork_depth.hpp"
#include "os/futex.hpp"
#include "os/seed.hpp"

#include <prong/detail/task_type.hpp>
#include <prong/this_task.hpp>

#include <pthread.h>
#include <unistd.h>

#include <mutex>
#include <thread>
#include <utility>

namespace prong {
namespace {

using executor::SharedState;
using ring::Record;
using ring::Status;

const SharedState* shared_state = nullptr; ///< null: this process is no worker
unsigned depth_of_worker = 0;              ///< children of a worker are no workers
unsigned this_index = 0;
std::uint64_t this_seed = 0;
std::atomic<const Record*> current{nullptr};

bool is_worker() noexcept {
    return shared_state != nullptr && depth_of_worker == os::fork_depth();
}

/// Returns the task that this process runs, or null.
const Record* current_task() noexcept {
    return is_worker() ? current.load(std::memory_order_relaxed) : nullptr;
}

bool is_asked_to_stop(const Record& record) {
    return ring::status_of(record).has(Status::stop_requested);
}

/// A thread that waits for a stop request for the task, and forwards it to the stop source.
class StopWatch {
public:
    StopWatch(const Record& record, std::uint32_t generation)
        : record_(record), generation_(generation) {
        const os::BlockedSignals blocked; // in the new thread
        thread_ = std::thread([this] { watch(); });
    }
    ~StopWatch() {
        over_.store(true);
        while (left_.load() == 0) { // again: the thread may have been about to sleep
            os::futex_wake(record_.status, os::everyone);
            os::futex_wait(left_, 0, std::chrono::milliseconds(1));
        }
        thread_.join();
    }
    StopWatch(const StopWatch&) = delete;
    StopWatch& operator=(const StopWatch&) = delete;

    [[nodiscard]] std::stop_token token() const { return source_.get_token(); }
    [[nodiscard]] bool is_for(const Record& record, std::uint32_t generation) const {
        return &record_ == &record && generation_ == generation;
    }

private:
    void watch() {
        while (!over_.load()) {
            const std::uint64_t word = record_.status.load();
            const Status status = Status::unpack(word);
            if (status.generation != generation_) break;
            if (status.has(Status::stop_requested)) {
                source_.request_stop();
                break;
            }
            os::futex_wait(record_.status, static_cast<std::uint32_t>(word),
                           std::chrono::nanoseconds(-1));
        }
        left_.store(1);
        os::futex_wake(left_, 1);
    }

    const Record& record_;
    std::uint32_t generation_;
    std::stop_source source_;
    std::atomic<bool> over_ = false;
    os::FutexWord left_{0};
    std::thread thread_;
};

constinit std::mutex stop_watch_mutex; ///< guards changes of the next one
/// Exists from the task's first call of `stop_token` to its end.
constinit std::atomic<StopWatch*> stop_watch = nullptr;

} // namespace

void executor::become_worker(const SharedState& state, unsigned worker) noexcept {
    shared_state = &state;
    depth_of_worker = os::fork_depth();
    this_index = worker;
    this_seed = os::fresh_seed();
    // Children of a task may read the task's arguments, and nothing more.
    pthread_atfork(nullptr, nullptr, [] { shared_state->region.make_read_only(); });
}

void detail::end_copy_of_worker(int exit_code) noexcept {
    if (shared_state != nullptr && depth_of_worker != os::fork_depth()) _exit(exit_code);
}

detail::CopyCheck::CopyCheck() noexcept : word_(os::fork_depth_word()), value_(os::fork_depth()) {}

void executor::set_current_task(const Record* record) noexcept {
    if (shared_state != nullptr) current.store(record, std::memory_order_relaxed);
}

void executor::forget_stop_token() {
    if (stop_watch.load(std::memory_order_acquire) == nullptr) return;
    const std::lock_guard lock(stop_watch_mutex);
    delete stop_watch.exchange(nullptr);
}

bool this_task::stop_requested() noexcept {
    const Record* const record = current_task();
    return record != nullptr && is_asked_to_stop(*record);
}

std::stop_token this_task::stop_token() {
    const Record* const record = current_task();
    if (record == nullptr) return {};
    const std::uint32_t generation = ring::status_of(*record).generation;
    const std::lock_guard lock(stop_watch_mutex);
    StopWatch* watch = stop_watch.load();
    if (watch == nullptr || !watch->is_for(*record, generation)) {
        delete stop_watch.exchange(nullptr); // a thread that an earlier task has left asked for it
        watch = new StopWatch(*record, generation);
        stop_watch.store(watch);
    }
    return watch->token();
}

int this_task::attempt() noexcept {
    const Record* const record = current_task();
    if (record == nullptr || !ring::status_of(*record).has(Status::has_options)) return 1;
    const auto index = static_cast<std::uint32_t>(record - shared_state->records.data());
    return static_cast<int>(shared_state->settings(index).deaths.load()) + 1;
}

int this_worker::index() noexcept {
    return is_worker() ? static_cast<int>(this_index) : -1;
}

std::uint64_t this_worker::seed() noexcept {
    return is_worker() ? this_seed : 0;
}

} // namespace prong
