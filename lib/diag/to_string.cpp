#include <prong/asio/server_options.hpp>
#include <prong/error.hpp>
#include <prong/pool_options.hpp>
#include <prong/stats.hpp>
#include <prong/task_options.hpp>
#include <prong/wait.hpp>

#include <cstddef>
#include <initializer_list>

namespace prong {
namespace {

/// `names`: of the enumerators, in their order.
template <typename Enum>
std::string_view name_of(Enum value, std::initializer_list<std::string_view> names) {
    const auto index = static_cast<std::size_t>(value);
    return index < names.size() ? names.begin()[index] : "unknown";
}

} // namespace

std::string_view to_string(LimitKind kind) {
    return name_of(kind, {"shared_memory", "pending_tasks", "memory", "address_space", "cpu_time",
                          "file_size"});
}

std::string_view to_string(OnWorkerDeath action) {
    return name_of(action, {"replace", "break_pool"});
}

std::string_view to_string(Priority priority) {
    return name_of(priority, {"high", "normal", "low"});
}

std::string_view to_string(ReturnWhen condition) {
    return name_of(condition, {"first_completed", "first_exception", "all_completed"});
}

std::string_view to_string(WhenFull action) {
    return name_of(action, {"wait", "refuse"});
}

std::string_view to_string(WorkerState state) {
    return name_of(state, {"absent", "starting", "idle", "running", "stopped"});
}

} // namespace prong
