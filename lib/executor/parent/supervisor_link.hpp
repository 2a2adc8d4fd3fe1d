#pragma once

#include "base/deadline.hpp"
#include "executor/shared/shared_state.hpp"
#include "os/child.hpp"
#include "os/doorbell.hpp"

#include <atomic>
#include <mutex>

namespace prong::executor {

/// The parent's connection to the supervisor: notifies it, tells it how the workers are to end,
/// and reaps it.
///
/// Thread safety: any thread, once `attach` has returned.
class SupervisorLink {
public:
    SupervisorLink(SharedState& state, const os::Doorbell& doorbell)
        : state_(state), doorbell_(doorbell) {}

    void attach(os::PidFd supervisor) { supervisor_ = std::move(supervisor); }
    /// False if there is no supervisor: the workers are threads of a test.
    [[nodiscard]] explicit operator bool() const { return static_cast<bool>(supervisor_); }

    /// Whether the supervisor is known to have ended.
    [[nodiscard]] bool has_ended() const noexcept { return ended_.load(std::memory_order_acquire); }
    /// The same, but looks. Throws `std::system_error`.
    [[nodiscard]] bool looks_ended() const;

    /// Waits for the supervisor's end at most until `limit`, then reaps it. Returns whether it has
    /// ended. Throws `std::system_error`.
    bool reap_until(base::Deadline limit);
    /// The same without limit and without a system call that can fail.
    void reap() noexcept;
    /// Gives a supervisor up that this process may not kill.
    void give_up() noexcept { ended_.store(true, std::memory_order_release); }

    [[nodiscard]] proc::StopMode stop_mode() const noexcept { return stop_mode_.load(); }
    /// Writes the stop mode to shared memory, unless it is beyond `mode` already, and wakes the
    /// workers. `notify` makes the supervisor look.
    void request_stop(proc::StopMode mode) noexcept;

    /// Makes the supervisor look at shared memory. Throws `std::system_error`.
    void notify();
    /// The same; a supervisor that cannot be reached looks when a worker exits.
    void try_notify() noexcept;
    /// Notifies the supervisor if the time of this record's task is over before the supervisor's
    /// next alarm: a worker that has changed its user cannot do so itself.
    void notify_if_due(std::uint32_t index) noexcept;
    /// Waits must not hang because the supervisor was stopped.
    void continue_if_stopped() noexcept;
    /// Returns false if this process may not kill the supervisor.
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
