#include "executor/parent/supervisor_link.hpp"

#include <csignal>
#include <system_error>

namespace prong::executor {

bool SupervisorLink::reap_until(detail::Deadline limit) {
    if (has_ended()) return true;
    if (!os::wait_for_end(supervisor_, limit)) return false;
    reap();
    return true;
}

void SupervisorLink::reap() noexcept {
    const std::lock_guard lock(reap_mutex_);
    if (has_ended()) return;
    os::wait_for_end(supervisor_);
    os::reap(supervisor_);
    ended_.store(true, std::memory_order_release);
}

void SupervisorLink::request_stop(proc::StopMode mode) noexcept {
    proc::StopMode now = stop_mode_.load();
    while (now < mode && !stop_mode_.compare_exchange_weak(now, mode)) {
    }
    do { // the last of several threads writes the latest mode
        now = stop_mode_.load();
        state_.control().stop_mode.store(now);
    } while (stop_mode_.load() != now);
    state_.notifier.wake_all();
}

void SupervisorLink::notify() {
    if (!supervisor_ || has_ended()) return;
    try {
        os::send_signal(supervisor_, SIGUSR1);
    } catch (const std::system_error&) { // forbidden: this process has changed its user
        if (!doorbell_.ring()) throw;
    }
    continue_if_stopped();
}

void SupervisorLink::try_notify() noexcept {
    try {
        notify();
    } catch (const std::system_error&) {
    }
}

void SupervisorLink::notify_if_due(std::uint32_t index) noexcept {
    const ring::Status now = ring::status_of(state_.records[index]);
    if (now.state != ring::TaskState::running || now.owner >= state_.workers()) return;
    const std::int64_t stop_at = state_.slot(now.owner).stop_at_ns.load();
    const std::int64_t alarm = state_.control().next_alarm_ns.load();
    const bool metered = is_metered(state_.settings(index));
    if (stop_at != 0 && (stop_at < alarm || (metered && alarm == no_alarm))) try_notify();
}

void SupervisorLink::continue_if_stopped() noexcept {
    try {
        if (os::is_stopped(supervisor_)) os::send_signal(supervisor_, SIGCONT);
    } catch (const std::system_error&) { // forbidden: this process cannot continue it
    }
}

bool SupervisorLink::kill() noexcept {
    try {
        os::send_signal(supervisor_, SIGKILL);
        return true;
    } catch (const std::system_error&) {
        return false;
    }
}

} // namespace prong::executor
