#pragma once

#include "executor/shared/failure_report.hpp"
#include "executor/shared/shared_state.hpp"
#include "os/capture.hpp"
#include "os/descriptor.hpp"
#include "os/doorbell.hpp"
#include "os/rlimit.hpp"
#include "os/usage.hpp"

#include <optional>

namespace prong::executor {

/// The parts of the world that a worker process needs to keep a task's options.
struct WorkerSurroundings {
    const os::GuardedFd* capture = nullptr; ///< where output goes while it is captured
    int supervisor = 0;                     ///< its process; 0: the workers are threads of a test
    os::Doorbell doorbell = {};

    /// The capture's descriptor; -1 if there is none any more.
    [[nodiscard]] int capture_fd() const { return capture != nullptr ? capture->get() : -1; }
    /// Has the supervisor look at shared memory.
    void notify_supervisor() const noexcept;
};

/// Puts a task's options into effect while it runs: tells the supervisor when its time will be
/// over and from where its use of memory and processor counts, sets resource limits, captures
/// output.
class TaskScope {
public:
    TaskScope(const SharedState& state, unsigned worker, const TaskSettings& settings,
              const WorkerSurroundings& surroundings);
    ~TaskScope() { leave(); }
    TaskScope(const TaskScope&) = delete;
    TaskScope& operator=(const TaskScope&) = delete;

    /// Ends it early. From then on nobody watches the task, so it should be finished at once.
    void leave() noexcept;

    /// When the task has to stop; `no_alarm` if never.
    [[nodiscard]] std::int64_t stop_at_ns() const { return stop_at_ns_; }

    /// What a `std::bad_alloc` of the task means: that it went beyond its limit of address space,
    /// or (empty) just that.
    [[nodiscard]] std::optional<Excess> memory_excess() const;

    /// The same for the task that this thread runs, if it has options.
    [[nodiscard]] static std::optional<Excess> current_memory_excess();

    /// The end of its output, if it was captured. After `leave`.
    [[nodiscard]] std::string last_output() const;

private:
    void arm(const SharedState& state);

    WorkerSlot& slot_;
    const TaskSettings& settings_;
    const WorkerSurroundings& surroundings_;
    std::optional<os::OutputCapture> output_;
    bool ignores_file_size_ = false;
    std::optional<os::SoftLimit> file_size_;
    std::optional<os::SoftLimit> address_space_;
    os::AddressSpace address_space_at_start_{};
    std::int64_t stop_at_ns_ = no_alarm;
    bool inside_ = true;
};

} // namespace prong::executor
