#include "executor/parent/completion_signal.hpp"

#include "base/errno.hpp"
#include "os/wake_pipe.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <chrono>
#include <string>
#include <utility>

namespace prong::executor {
namespace {

bool is_pipe(int fd) {
    struct stat status {};
    return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

} // namespace

int CompletionSignal::open(const RecordStore& records) {
    const std::lock_guard lock(mutex_);
    if (is_open_.load() && receiver_.get() >= 0) return receiver_.get(); // else it was closed
    receiver_ = os::GuardedFd(os::lift(open_receiver()));
    words_.has_signal_reader.store(true);
    is_open_.store(true);
    if (records.holds_ended()) os::wake_receiver(receiver_.get()); // no byte was sent for these
    return receiver_.get();
}

/// Returns the receiver of a pipe; one without a sender if the pool has ended.
base::UniqueFd CompletionSignal::open_receiver() {
    int number = LoopWords::signal_pending;
    const auto overdue = detail::Deadline::after(std::chrono::seconds(1));
    while ((number = words_.signal_receiver.load()) == LoopWords::signal_pending) {
        if (supervisor_.reap_until(detail::Deadline::after(std::chrono::milliseconds(1)))) break;
        supervisor_.continue_if_stopped();
        if (!overdue.passed()) continue;
        words_.wanted.store(true); // so that it writes the number again, which a worker has changed
        supervisor_.try_notify();
    }
    const std::string name =
        "/proc/" + std::to_string(supervisor_.pid()) + "/fd/" + std::to_string(number);
    base::UniqueFd receiver(::open(name.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    const int error = receiver ? 0 : errno;
    // Its descriptors are gone some time before its end shows.
    const auto limit = std::chrono::seconds(error == ENOENT ? 1 : 0);
    // Not another process that has the same number by now.
    if (supervisor_.reap_until(detail::Deadline::after(limit))) return os::make_ended_pipe();
    if (!receiver) base::throw_errno(("open(" + name + ")").c_str(), error);
    if (!is_pipe(receiver.get())) base::throw_errno(("open(" + name + ")").c_str(), EBADF);
    return receiver;
}

bool CompletionSignal::has_ended() const noexcept {
    if (!is_open_.load()) return false;
    pollfd event{.fd = receiver_.get(), .events = 0, .revents = 0};
    return event.fd >= 0 && poll(&event, 1, 0) == 1 && (event.revents & POLLHUP) != 0;
}

} // namespace prong::executor
