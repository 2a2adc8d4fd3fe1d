#pragma once

#include "base/fd.hpp"
#include "os/descriptor.hpp"
#include "shm/flag.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace prong::executor {

/// Whether the readers of the port are to be notified of an end.
enum class PortState : std::uint32_t {
    unused,   ///< there has never been a reader
    notified, ///< a byte was sent, or its sender has died or is stopped
    armed,    ///< the readers are about to sleep
};

/// The words of a `LoopNotifier` in shared memory.
struct LoopWords {
    /// Set to `armed` by the parent, taken back by the process that sends the byte.
    alignas(64) std::atomic<PortState> port;
    /// Whether the signal has a reader. Set by the parent; read after each task.
    alignas(64) shm::Flag has_signal_reader;
    /// Whether a loop waits for room in the queue. Set by the parent, taken back by the worker that
    /// notifies the port; read after each claim.
    shm::Flag room_wanted;
    /// Whether the supervisor is to notify all readers, in place of a process that cannot.
    shm::Flag wanted;
    /// The number of the signal's receiver in the supervisor, or one of the next two. Written by
    /// the supervisor.
    std::atomic<int> signal_receiver;
    static constexpr int signal_pending = 0; ///< not opened yet
    static constexpr int signal_failed = -1; ///< cannot be opened
};

/// Notifies event loops of the parent that tasks have ended, by two pipes. The *port* is read by
/// `CompletionPort` only, which arms it: one byte tells of any number of ends. The *signal* is what
/// `completion_fd()` returns: the program reads it, so each end sends a byte.
///
/// A byte tells only that the parent should check its tasks. So false ones do no harm, and a repair
/// sends one whenever an earlier one may have been lost.
///
/// Thread safety: any thread. Process safety: each process has its own object over the same words.
class LoopNotifier {
public:
    explicit LoopNotifier(LoopWords& words) : words_(&words) {}

    [[nodiscard]] LoopWords& words() const noexcept { return *words_; }

    // The parent.

    /// Creates the port, before the supervisor is forked. Throws `std::system_error`.
    void open_port();
    /// Closes what only the other processes use, once they are forked.
    void become_parent() noexcept { port_sender_.reset(); }
    /// Returns the port's receiver; -1 if the program has closed it.
    [[nodiscard]] int port() const noexcept { return port_receiver_.get(); }
    /// Makes the next end send a byte. Ends from now on are noticed; the caller then checks for
    /// earlier ones.
    void arm() const noexcept {
        if (words_->port.load() != PortState::armed) words_->port.store(PortState::armed);
    }

    /// Makes the next claim notify the port. The caller then checks for room once more.
    void want_room() const noexcept {
        arm();
        words_->room_wanted.store(true);
    }

    // The supervisor.

    using PortFds = std::array<base::UniqueFd, 2>;
    /// Uses a port that was opened in the parent.
    void adopt_port(PortFds fds);
    /// Creates the signal. Without descriptors, `completion_fd()` will throw.
    void open_signal() noexcept;
    /// Sends a byte to all readers: one that a dead or stopped worker owes them, or none.
    void repair() const noexcept;
    /// Does the same if another process has asked for it.
    void repair_if_wanted() const noexcept;

    // The worker.

    /// Closes what only the supervisor uses.
    void become_worker() noexcept;
    /// Notifies a loop that waits for room that a task has left the queue. Returns false like
    /// `task_ended`.
    [[nodiscard]] bool task_claimed() const noexcept {
        return !words_->room_wanted.load() || notify_of_room();
    }

    // Each of them.

    /// Returns the numbers of the port's ends, to be kept or passed on.
    [[nodiscard]] std::array<int, 2> port_fds() const noexcept {
        return {port_receiver_.get(), port_sender_.get()};
    }
    [[nodiscard]] bool has_signal_reader() const noexcept {
        return words_->has_signal_reader.load();
    }
    /// Notifies the readers that a task has ended. Returns false if this process cannot: then the
    /// caller notifies the supervisor, which does.
    [[nodiscard]] bool task_ended(bool is_awaited) const noexcept {
        const bool notifies_port = is_awaited && words_->port.load() == PortState::armed;
        const bool notifies_signal = has_signal_reader();
        return (!notifies_port && !notifies_signal) || notify(notifies_port, notifies_signal);
    }

private:
    bool notify(bool notifies_port, bool notifies_signal) const noexcept;
    bool notify_of_room() const noexcept;
    bool wake_port() const noexcept;
    bool is_done_or_delegated(bool is_done) const noexcept;

    LoopWords* words_;
    os::GuardedFd port_receiver_;
    os::GuardedFd port_sender_; ///< not in the parent, which rarely needs one
    os::GuardedFd signal_receiver_;
    os::GuardedFd signal_sender_;
};

} // namespace prong::executor
