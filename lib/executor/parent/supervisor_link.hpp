#pragma once

#include "executor/shared/shared_state.hpp"
#include "os/child.hpp"
#include "os/doorbell.hpp"

#include <prong/detail/deadline.hpp>

#include <atomic>
#include <mutex>

namespace prong::executor {

/// The parent's link to the supervisor: notifies it, requests how the workers are to end, and reaps
/// it.
///
/// Thread safety: any thread, once `attach` has returned.
class SupervisorLink {
public:
    SupervisorLink(SharedState& state, const os::Doorbell& doorbell)
        : state_(state), doorbell_(doorbell) {}

    void attach(os::PidFd supervisor) { supervisor_ = std::move(supervisor); }
    /// Returns false if there is no supervisor: the workers are threads of a test.
    [[nodiscard]] explicit operator bool() const { return static_cast<bool>(supervisor_); }

    /// Returns a descriptor that becomes readable when the supervisor has ended; -1 if it was
    /// reaped. Throws `std::system_error`.
    [[nodiscard]] int fd() const { return supervisor_.open(); }
    [[nodiscard]] pid_t pid() const noexcept { return supervisor_.pid(); }

    /// Returns whether the supervisor is known to have ended.
    [[nodiscard]] bool has_ended() const noexcept { return ended_.load(std::memory_order_acquire); }

    /// Blocks until the supervisor has ended, at most until `limit`, then reaps it. Returns whether
    /// it has ended. Throws `std::system_error`.
    bool reap_until(detail::Deadline limit);
    /// Does the same without a limit, and without a system call that can fail.
    void reap() noexcept;
    /// Stops waiting for a supervisor that this process may not kill.
    void give_up() noexcept { ended_.store(true, std::memory_order_release); }

    [[nodiscard]] proc::StopMode stop_mode() const noexcept { return stop_mode_.load(); }
    /// Writes the stop mode to shared memory, unless a later one is set already, and wakes the
    /// workers. `notify` makes the supervisor read it.
    void request_stop(proc::StopMode mode) noexcept;

    /// Makes the supervisor check shared memory. Throws `std::system_error`.
    void notify();
    /// Does the same. A supervisor that cannot be reached checks when a worker exits.
    void try_notify() noexcept;
    /// Notifies the supervisor if this record's task must stop before the supervisor's next alarm:
    /// a worker that has changed its user cannot notify it.
    void notify_if_due(std::uint32_t index) noexcept;
    /// Continues a stopped supervisor, because waits must not hang.
    void continue_if_stopped() noexcept;
    /// Kills the supervisor. Returns false if this process may not.
    bool kill() noexcept;

private:
    SharedState& state_;
    os::Doorbell doorbell_;
    os::PidFd supervisor_;
    std::mutex reap_mutex_;
    std::atomic<bool> ended_ = false;
    std::atomic<proc::StopMode> stop_mode_ = proc::StopMode::none;
};

} // namespace prong::executor
