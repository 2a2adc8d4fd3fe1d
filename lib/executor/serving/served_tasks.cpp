#include "executor/serving/served_tasks.hpp"

#include "base/clock.hpp"
#include "codec/addresses.hpp"
#include "codec/exception.hpp"
#include "executor/parent/core.hpp"

#include <prong/detail/completion_set.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/detail/task_writer.hpp>
#include <prong/error.hpp>
#include <prong/process_pool_executor.hpp>

#include <algorithm>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace prong::executor {

using detail::Deadline;
using namespace std::chrono_literals;

class ServedTasks::Impl {
public:
    explicit Impl(PoolOptions options) : pool_(std::move(options)) {}
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl();

    std::span<std::byte> reserve(std::uint64_t number, std::size_t size);
    void submit(std::uint64_t number, const detail::TaskType& type,
                std::span<const std::byte> arguments, const std::optional<TaskOptions>& options,
                unsigned attempt);
    void fail(std::uint64_t number);
    std::span<const Ended> take_ended();
    void release(std::uint64_t number);
    void request_stop(std::uint64_t number);
    void kill(std::uint64_t number);
    void cancel_waiting();
    void nap(std::chrono::nanoseconds most);

    void shutdown(std::chrono::nanoseconds most) { pool_.shutdown_for(most); }
    void terminate(std::chrono::nanoseconds most);

    [[nodiscard]] std::size_t held() const { return tasks_.size(); }
    [[nodiscard]] std::vector<Worker> workers() const;
    [[nodiscard]] std::string broken_cause() const;
    [[nodiscard]] bool has_started() const { return core().state().control().starts.load() != 0; }

private:
    struct Task {
        std::optional<detail::TaskWriter> writer;      ///< before it is queued
        detail::TaskHandle handle;                     ///< once it is queued
        std::optional<detail::BufferWriter> exception; ///< why it could not be queued
        bool has_ended = false;
        bool is_wanted = true;
    };

    [[nodiscard]] PoolCore& core() const { return detail::PoolAccess::core(pool_); }
    detail::TaskHandle* handle_of(std::uint64_t number);
    [[nodiscard]] TaskEnd end_of(const detail::TaskHandle& handle) const;

    ProcessPoolExecutor pool_;
    std::unordered_map<std::uint64_t, Task> tasks_; ///< handles must stay in place
    detail::CompletionSet pending_;
    std::vector<std::uint64_t> refused_; ///< ended before they were queued, not returned yet
    std::vector<Ended> ended_;
    bool has_news_ = false; ///< `pending_` has ended tasks that were not returned yet
};

ServedTasks::Impl::~Impl() {
    try {
        pool_.kill_workers();
    } catch (...) { // the supervisor cannot be reached: the tasks run to their end
    }
    tasks_.clear();
}

std::span<std::byte> ServedTasks::Impl::reserve(std::uint64_t number, std::size_t size) {
    try {
        detail::TaskWriter& writer = tasks_[number].writer.emplace(core());
        return {writer.reserve(size), size};
    } catch (const BrokenProcessPool&) { // as for tasks that have been queued
        return {};
    } catch (...) {
        fail(number);
        return {};
    }
}

void ServedTasks::Impl::submit(std::uint64_t number, const detail::TaskType& type,
                               std::span<const std::byte> arguments,
                               const std::optional<TaskOptions>& options, unsigned attempt) {
    Task& task = tasks_[number];
    try {
        if (!task.writer) {
            task.writer.emplace(core());
            task.writer->write(arguments.data(), arguments.size());
        }
        task.writer->set_attempt(attempt);
        // Does not block: a relay holds far fewer tasks than a queue.
        auto handle =
            task.writer->try_submit(type, options ? &*options : nullptr, Deadline::never());
        task.writer.reset();
        task.handle = std::move(*handle);
        pending_.add(task.handle, number);
    } catch (const BrokenProcessPool&) { // as for tasks that have been queued
        task.writer.reset();
    } catch (...) {
        fail(number);
    }
}

void ServedTasks::Impl::fail(std::uint64_t number) {
    Task& task = tasks_[number];
    task.writer.reset();
    codec::encode_current_exception(task.exception.emplace());
    refused_.push_back(number);
}

std::span<const ServedTasks::Ended> ServedTasks::Impl::take_ended() {
    ended_.clear();
    for (const std::uint64_t number : refused_) {
        const auto found = tasks_.find(number);
        if (found == tasks_.end()) continue;
        ended_.push_back(
            {.number = number,
             .end = {.state = ring::TaskState::thrown, .bytes = found->second.exception->bytes()}});
    }
    refused_.clear();
    if (!std::exchange(has_news_, false) && !pending_.wait(Deadline::now())) return ended_;
    for (const std::size_t number : pending_.ended()) {
        const auto found = tasks_.find(number);
        if (!found->second.is_wanted) {
            tasks_.erase(found);
            continue;
        }
        found->second.has_ended = true;
        const TaskEnd end = end_of(found->second.handle);
        // Of a broken pool nothing is returned: `broken_cause` says why.
        if (end.state != ring::TaskState::lost) ended_.push_back({.number = number, .end = end});
    }
    return ended_;
}

void ServedTasks::Impl::release(std::uint64_t number) {
    const auto found = tasks_.find(number);
    if (found == tasks_.end()) return;
    // `pending_` refers to the handle of a task that has not ended.
    if (found->second.handle.valid() && !found->second.has_ended)
        found->second.is_wanted = false;
    else
        tasks_.erase(found);
}

TaskEnd ServedTasks::Impl::end_of(const detail::TaskHandle& handle) const {
    const SharedState& state = core().state();
    const detail::TaskKey key = handle.key();
    const ring::Status status = core().look(key);
    TaskEnd end{.state = status.state, .bytes = {}};
    if (!has_end_bytes(status.state)) return end;
    const auto bytes = state.result_of(state.records[key.index]);
    if (!bytes) return {.state = ring::TaskState::thrown, .bytes = {}};
    end.bytes = *bytes;
    const bool has_ended_itself =
        status.state == ring::TaskState::returned || status.state == ring::TaskState::thrown;
    if (has_ended_itself && status.has(ring::Status::has_options)) {
        const std::uint64_t length = state.settings(key.index).output_length.load();
        if (length <= bytes->size()) end.output_length = length;
    }
    return end;
}

detail::TaskHandle* ServedTasks::Impl::handle_of(std::uint64_t number) {
    const auto found = tasks_.find(number);
    return found != tasks_.end() && found->second.handle.valid() ? &found->second.handle : nullptr;
}

void ServedTasks::Impl::request_stop(std::uint64_t number) {
    if (detail::TaskHandle* const handle = handle_of(number)) handle->request_stop();
}

void ServedTasks::Impl::kill(std::uint64_t number) {
    if (detail::TaskHandle* const handle = handle_of(number)) handle->kill();
}

void ServedTasks::Impl::cancel_waiting() {
    for (auto& [number, task] : tasks_) {
        if (task.handle.valid() && !task.has_ended) task.handle.cancel();
    }
}

std::vector<ServedTasks::Worker> ServedTasks::Impl::workers() const {
    const SharedState& state = core().state();
    const std::int64_t now_ns = base::steady_now_ns();
    std::vector<Worker> workers;
    std::unordered_map<std::uint32_t, std::size_t> running; // the worker, by record
    for (unsigned i = 0; i < state.workers(); ++i) {
        const auto task = state.unfinished_task(i);
        workers.push_back({.stats = core().stats_of(i, now_ns, task.has_value())});
        if (task) running.emplace(task->index, i);
    }
    for (const auto& [number, task] : tasks_) {
        if (!task.handle.valid()) continue;
        const auto found = running.find(task.handle.key().index);
        if (found == running.end()) continue;
        workers[found->second].task = number;
        workers[found->second].is_running = true;
    }
    return workers;
}

std::string ServedTasks::Impl::broken_cause() const {
    core().poll_health();
    return core().has_ended() ? core().broken_cause() : std::string();
}

void ServedTasks::Impl::terminate(std::chrono::nanoseconds most) {
    pool_.terminate_workers();
    if (!pool_.join_for(most)) pool_.shutdown_for(0s);
}

void ServedTasks::Impl::nap(std::chrono::nanoseconds most) {
    if (has_news_ || !refused_.empty()) return;
    if (pending_.pending() == 0)
        std::this_thread::sleep_for(most);
    else
        has_news_ = pending_.wait(Deadline::after(Timeout(most)));
}

ServedTasks::ServedTasks(PoolOptions options) {
    codec::encode_places(); // the program that reads them has other addresses
    impl_ = std::make_unique<Impl>(std::move(options));
}

ServedTasks::~ServedTasks() = default;

std::span<std::byte> ServedTasks::reserve(std::uint64_t number, std::size_t size) {
    return impl_->reserve(number, size);
}

void ServedTasks::submit(std::uint64_t number, const detail::TaskType& type,
                         std::span<const std::byte> arguments,
                         const std::optional<TaskOptions>& options, unsigned attempt) {
    impl_->submit(number, type, arguments, options, attempt);
}

void ServedTasks::fail(std::uint64_t number) {
    impl_->fail(number);
}

std::span<const ServedTasks::Ended> ServedTasks::take_ended() {
    return impl_->take_ended();
}

void ServedTasks::release(std::uint64_t number) {
    impl_->release(number);
}

void ServedTasks::request_stop(std::uint64_t number) {
    impl_->request_stop(number);
}

void ServedTasks::kill(std::uint64_t number) {
    impl_->kill(number);
}

void ServedTasks::cancel_waiting() {
    impl_->cancel_waiting();
}

void ServedTasks::shutdown(std::chrono::nanoseconds most) {
    impl_->shutdown(most);
}

void ServedTasks::terminate(std::chrono::nanoseconds most) {
    impl_->terminate(most);
}

std::size_t ServedTasks::held() const noexcept {
    return impl_->held();
}

std::vector<ServedTasks::Worker> ServedTasks::workers() const {
    return impl_->workers();
}

std::string ServedTasks::broken_cause() const {
    return impl_->broken_cause();
}

bool ServedTasks::has_started() const noexcept {
    return impl_->has_started();
}

void ServedTasks::nap(std::chrono::nanoseconds most) {
    impl_->nap(most);
}

} // namespace prong::executor
