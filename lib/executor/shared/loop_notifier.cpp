#include "executor/shared/loop_notifier.hpp"

#include "os/wake_pipe.hpp"

#include <system_error>
#include <utility>

namespace prong::executor {

void LoopNotifier::open_port() {
    os::WakePipe pipe = os::make_wake_pipe();
    adopt_port({std::move(pipe.receiver), std::move(pipe.sender)});
}

void LoopNotifier::adopt_port(PortFds fds) {
    port_receiver_ = os::GuardedFd(std::move(fds[0]));
    port_sender_ = os::GuardedFd(std::move(fds[1]));
}

void LoopNotifier::open_signal() noexcept {
    try {
        os::WakePipe pipe = os::make_wake_pipe();
        signal_receiver_ = os::GuardedFd(std::move(pipe.receiver));
        signal_sender_ = os::GuardedFd(std::move(pipe.sender));
        words_->signal_receiver.store(signal_receiver_.get());
    } catch (const std::system_error&) { // no descriptor is left
        words_->signal_receiver.store(LoopWords::signal_failed);
    }
}

void LoopNotifier::become_worker() noexcept {
    port_receiver_.reset();
    signal_receiver_.reset();
}

void LoopNotifier::repair() const noexcept {
    if (signal_receiver_.get() >= 0) words_->signal_receiver.store(signal_receiver_.get());
    if (words_->port.load() != PortState::unused) wake_port();
    if (words_->has_signal_reader.load()) os::wake(signal_sender_.get());
}

void LoopNotifier::repair_if_wanted() const noexcept {
    if (!words_->wanted.load()) return;
    words_->wanted.store(false); // first, so that no later request is lost
    repair();
}

bool LoopNotifier::notify(bool notifies_port, bool notifies_signal) const noexcept {
    bool is_done = true;
    if (notifies_port && words_->port.exchange(PortState::notified) == PortState::armed)
        is_done = wake_port();
    if (notifies_signal) is_done = os::wake(signal_sender_.get()) && is_done;
    return is_done_or_delegated(is_done);
}

bool LoopNotifier::notify_of_room() const noexcept {
    words_->room_wanted.store(false);
    return is_done_or_delegated(wake_port());
}

bool LoopNotifier::is_done_or_delegated(bool is_done) const noexcept {
    if (is_done || words_->wanted.load()) return true; // or the supervisor has yet to do it
    words_->wanted.store(true);
    return false;
}

bool LoopNotifier::wake_port() const noexcept {
    return port_sender_ ? os::wake(port_sender_.get()) : os::wake_receiver(port_receiver_.get());
}

} // namespace prong::executor
