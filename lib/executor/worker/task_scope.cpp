#include "executor/worker/task_scope.hpp"

#include "base/clock.hpp"
#include "os/process.hpp"
#include "os/usage.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <limits>

namespace prong::executor {
namespace {

/// Adds without overflow.
std::uint64_t sum(std::uint64_t one, std::uint64_t other) {
    return one + std::min(other, std::numeric_limits<std::uint64_t>::max() - one);
}

/// The scope of the task that this thread runs.
thread_local TaskScope* current_scope = nullptr;

/// Ignores SIGXFSZ if the program limits file sizes: captured output is a file, and writing too
/// much must fail instead of killing the task. Returns whether the signal was changed.
bool ignore_file_size_signal() {
    rlimit limit{};
    const bool is_limited = getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    if (!is_limited || !os::has_disposition(SIGXFSZ, SIG_DFL)) return false;
    signal(SIGXFSZ, SIG_IGN);
    return true;
}

} // namespace

void WorkerSurroundings::notify_supervisor() const noexcept {
    // Once the supervisor has been reaped, its number may be another process's.
    if (supervisor == 0 || getppid() != supervisor) return;
    if (kill(supervisor, SIGUSR1) != 0) doorbell.ring();
}

TaskScope::TaskScope(const SharedState& state, unsigned worker, const TaskSettings& settings,
                     const WorkerSurroundings& surroundings)
    : slot_(state.slot(worker)), settings_(settings), surroundings_(surroundings) {
    if (settings.resident_bytes != 0)
        slot_.resident_at_start.store(os::own_resident_bytes(getpid()), std::memory_order_relaxed);
    if (settings.cpu_ns != 0)
        slot_.cpu_ns_at_start.store(os::processor_time(getpid()).count(),
                                    std::memory_order_relaxed);
    if (settings.capture_output != 0 && surroundings.capture != nullptr) {
        output_.emplace(*surroundings.capture);
        ignores_file_size_ = settings.max_file_bytes == 0 && ignore_file_size_signal();
    }
    if (settings.capture_stack != 0) trace_.emplace();
    arm(state);
    if (settings.max_file_bytes != 0) file_size_.emplace(RLIMIT_FSIZE, settings.max_file_bytes);
    if (settings.address_space_bytes != 0) {
        address_space_at_start_ = os::address_space();
        address_space_.emplace(RLIMIT_AS,
                               sum(address_space_at_start_.reserved, settings.address_space_bytes));
    }
    current_scope = this;
}

void TaskScope::arm(const SharedState& state) {
    const std::int64_t now = base::steady_now_ns();
    stop_at_ns_ = stop_time(settings_, now);
    const std::int64_t look =
        is_metered(settings_) ? std::min(stop_at_ns_, now + usage_interval.count()) : stop_at_ns_;
    // Sequentially consistent with the supervisor going to sleep: either it sees this time, or this
    // sees its alarm.
    slot_.stop_at_ns.store(stop_at_ns_);
    if (look < state.control().next_alarm_ns.load()) surroundings_.notify_supervisor();
}

void TaskScope::leave() noexcept {
    if (!inside_) return;
    inside_ = false;
    current_scope = nullptr;
    address_space_.reset();
    output_.reset();
    file_size_.reset();
    if (ignores_file_size_ && os::has_disposition(SIGXFSZ, SIG_IGN)) signal(SIGXFSZ, SIG_DFL);
    // Cleared before the task is finished: the next task must not be stopped at this one's time.
    slot_.stop_at_ns.store(0);
}

std::optional<Excess> TaskScope::memory_excess() const {
    if (settings_.address_space_bytes == 0) return std::nullopt;
    // The peak is the process's: it is this task's only if it has grown since the start.
    const os::AddressSpace now = os::address_space();
    const std::uint64_t most = now.peak > address_space_at_start_.peak ? now.peak : now.reserved;
    return Excess{.kind = LimitKind::address_space,
                  .allowed = settings_.address_space_bytes,
                  .used = most - std::min(most, address_space_at_start_.reserved)};
}

std::optional<Excess> TaskScope::current_memory_excess() {
    return current_scope == nullptr ? std::nullopt : current_scope->memory_excess();
}

diag::ThrowTrace* TaskScope::current_trace() {
    return current_scope == nullptr ? nullptr : current_scope->trace();
}

std::string TaskScope::last_output() const {
    return settings_.capture_output != 0 ? os::captured_output(surroundings_.capture_fd())
                                         : std::string();
}

} // namespace prong::executor
