#include <prong/detail/delayed_task.hpp>

#include "executor/parent/core.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace prong::detail {

DelayedTask::DelayedTask(executor::PoolCore& pool, const TaskType& type, const TaskOptions* options)
    : pool_(pool), writer_(pool), type_(&type) {
    if (options == nullptr) return;
    options_ = *options;
    deadline_ = Deadline::after(options->deadline);
}

bool DelayedTask::try_submit() {
    using std::chrono::nanoseconds;
    if (!deadline_.is_never())
        options_->deadline = std::max(deadline_.left(nanoseconds::max()), nanoseconds(1));
    // Without a limit a late task does not wait for room: it is submitted as expired.
    const Deadline limit = deadline_.passed() ? Deadline::never() : Deadline::now();
    const TaskOptions* const options = options_ ? &*options_ : nullptr;
    auto task = writer_.try_submit(*type_, options, limit);
    if (!task) {
        pool().state().loops.want_room();
        task = writer_.try_submit(*type_, options, limit);
    }
    if (!task) return false;
    task_ = std::move(*task);
    return true;
}

} // namespace prong::detail
