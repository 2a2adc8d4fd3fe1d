#include <prong/wait.hpp>

#include "executor/parent/core.hpp"
#include "os/socket.hpp"
#include "os/wake_pipe.hpp"

#include <prong/detail/completion_port.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <list>
#include <optional>
#include <span>
#include <thread>
#include <vector>

namespace prong {
namespace {

using detail::AwaitedTask;
using detail::CompletionPort;
using detail::Deadline;
using detail::TaskHandle;
using Nanoseconds = std::chrono::nanoseconds;

/// Tasks that one call of `wait` awaits, and the descriptors that wake it. A descriptor of its own
/// is one of them, because another thread may read the port, and find the end of one of the tasks.
class AwaitedTasks {
public:
    AwaitedTasks() = default;
    AwaitedTasks(const AwaitedTasks&) = delete;
    AwaitedTasks& operator=(const AwaitedTasks&) = delete;

    void add(const TaskHandle& task, std::size_t position) {
        CompletionPort& port = CompletionPort::of(task);
        if (std::ranges::find(ports_, &port) == ports_.end()) ports_.push_back(&port);
        tasks_.emplace_back(port, task, position, wakes_.sender.get());
    }

    [[nodiscard]] std::vector<int> fds() const {
        std::vector<int> fds{wakes_.receiver.get()};
        for (const CompletionPort* const port : ports_) {
            if (port->fd() >= 0) fds.push_back(port->fd());
        }
        return fds;
    }

    /// Checks the tasks, after one of the descriptors was readable or a while has passed.
    void check() {
        for (CompletionPort* const port : ports_) port->check();
    }

    void append_ended(std::vector<std::size_t>& positions) const {
        for (const Task& task : tasks_) {
            if (task.has_ended()) positions.push_back(task.position());
        }
    }

private:
    class Task final : public AwaitedTask {
    public:
        Task(CompletionPort& port, const TaskHandle& task, std::size_t position, int wakes)
            : port_(port), position_(position), wakes_(wakes) {
            if (port.add(task, *this)) return;
            has_ended_.store(true);
            is_free_.store(true);
        }
        Task(const Task&) = delete;
        Task& operator=(const Task&) = delete;
        ~Task() {
            if (port_.remove(*this)) return;
            while (!is_free_.load()) std::this_thread::yield(); // another thread is in `ended`
        }

        void ended() noexcept override {
            has_ended_.store(true);
            os::wake(wakes_);
            is_free_.store(true);
        }
        [[nodiscard]] bool has_ended() const { return has_ended_.load(); }
        [[nodiscard]] std::size_t position() const { return position_; }

    private:
        CompletionPort& port_;
        std::size_t position_;
        int wakes_;
        std::atomic<bool> has_ended_ = false;
        std::atomic<bool> is_free_ = false; ///< `ended` has returned, or will not be called
    };

    os::WakePipe wakes_ = os::make_wake_pipe();
    std::vector<CompletionPort*> ports_;
    std::list<Task> tasks_;
};

} // namespace

std::vector<std::size_t> wait(std::span<const Waitable> items, Timeout timeout) {
    if (items.empty()) return {}; // nothing can become ready
    const Deadline limit = Deadline::after(timeout);
    std::vector<int> fds;
    std::vector<std::size_t> positions; // of the items with a descriptor
    std::optional<AwaitedTasks> tasks;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (items[i].task_ == nullptr) {
            fds.push_back(items[i].fd());
            positions.push_back(i);
        } else {
            if (!tasks) tasks.emplace();
            tasks->add(*items[i].task_, i);
        }
    }
    if (!tasks) return os::wait_readable(fds, limit);
    std::ranges::copy(tasks->fds(), std::back_inserter(fds));
    std::vector<std::size_t> ready;
    for (bool is_last = false; ready.empty() && !is_last;) {
        is_last = limit.passed();
        tasks->check();
        tasks->append_ended(ready);
        const Deadline next =
            Deadline::after(ready.empty() ? CompletionPort::check_interval : Nanoseconds(0));
        for (const std::size_t i : os::wait_readable(fds, std::min(limit, next))) {
            if (i < positions.size()) ready.push_back(positions[i]);
        }
    }
    std::ranges::sort(ready);
    return ready;
}

} // namespace prong
