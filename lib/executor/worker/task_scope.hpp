#pragma once

#include "diag/throw_trace.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/shared/shared_state.hpp"
#include "os/capture.hpp"
#include "os/descriptor.hpp"
#include "os/doorbell.hpp"
#include "os/rlimit.hpp"
#include "os/usage.hpp"

#include <optional>

namespace prong::executor {

/// What a worker process needs to apply a task's options.
struct WorkerSurroundings {
    const os::GuardedFd* capture = nullptr; ///< receives captured output
    int supervisor = 0;                     ///< its process; 0: workers are threads of a test
    os::Doorbell doorbell = {};

    /// Returns the capture's descriptor; -1 if it is not open.
    [[nodiscard]] int capture_fd() const { return capture != nullptr ? capture->get() : -1; }
    /// Makes the supervisor check shared memory.
    void notify_supervisor() const noexcept;
};

/// Applies a task's options while it runs: stores for the supervisor when the task must stop and
/// how much memory and processor time it has at the start, sets resource limits, captures output,
/// and has the call stack of an exception.
class TaskScope {
public:
    TaskScope(const SharedState& state, unsigned worker, const TaskSettings& settings,
              const WorkerSurroundings& surroundings);
    ~TaskScope() { leave(); }
    TaskScope(const TaskScope&) = delete;
    TaskScope& operator=(const TaskScope&) = delete;

    /// Ends the scope early. From then on the supervisor does not watch the task, so finish it at
    /// once.
    void leave() noexcept;

    /// Returns when the task must stop; `no_alarm` if never.
    [[nodiscard]] std::int64_t stop_at_ns() const { return stop_at_ns_; }

    /// Returns the exceeded address-space limit if a `std::bad_alloc` of the task means that, else
    /// nothing.
    [[nodiscard]] std::optional<Excess> memory_excess() const;

    /// Does the same for the task that this thread runs, if it has options.
    [[nodiscard]] static std::optional<Excess> current_memory_excess();

    /// Returns where the task's exceptions are to be recorded, or null if they are not.
    [[nodiscard]] diag::ThrowTrace* trace() { return trace_ ? &*trace_ : nullptr; }

    /// Does the same for the task that this thread runs.
    [[nodiscard]] static diag::ThrowTrace* current_trace();

    /// Returns the end of the captured output; an empty text without capture. Call it after
    /// `leave`.
    [[nodiscard]] std::string last_output() const;

private:
    void arm(const SharedState& state);

    WorkerSlot& slot_;
    const TaskSettings& settings_;
    const WorkerSurroundings& surroundings_;
    std::optional<os::OutputCapture> output_;
    bool ignores_file_size_ = false;
    std::optional<diag::ThrowTrace> trace_;
    std::optional<os::SoftLimit> file_size_;
    std::optional<os::SoftLimit> address_space_;
    os::AddressSpace address_space_at_start_{};
    std::int64_t stop_at_ns_ = no_alarm;
    bool inside_ = true;
};

} // namespace prong::executor
