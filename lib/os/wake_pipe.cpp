#include "os/wake_pipe.hpp"

#include "base/errno.hpp"
#include "os/descriptor.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <utility>

namespace prong::os {
namespace {

/// The smallest pipe: a program may have many pools.
constexpr int pipe_bytes = 4096;

/// Calls `vectored`, or `plain` where the kernel cannot do without waiting (before Linux 6.4). Does
/// not block even if another process has cleared O_NONBLOCK.
template <typename Vectored, typename Plain>
ssize_t transfer(Vectored vectored, Plain plain, short event, int fd, char* bytes,
                 std::size_t size) noexcept {
    const iovec piece{.iov_base = bytes, .iov_len = size};
    const ssize_t done =
        base::retry_interrupted([&] { return vectored(fd, &piece, 1, -1, RWF_NOWAIT); });
    if (done >= 0 || errno != EOPNOTSUPP) return done;
    pollfd ready{.fd = fd, .events = event, .revents = 0};
    if (poll(&ready, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return base::retry_interrupted([&] { return plain(fd, bytes, size); });
}

WakePipe make_pipe() {
    std::array<int, 2> ends{-1, -1};
    if (pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) base::throw_errno("pipe2");
    return {.receiver = base::UniqueFd(ends[0]), .sender = base::UniqueFd(ends[1])};
}

} // namespace

WakePipe make_wake_pipe() {
    WakePipe pipe = make_pipe();
    fcntl(pipe.sender.get(), F_SETPIPE_SZ, pipe_bytes);
    pipe.receiver = lift(std::move(pipe.receiver));
    pipe.sender = lift(std::move(pipe.sender));
    return pipe;
}

base::UniqueFd make_ended_pipe() {
    return std::move(make_pipe().receiver);
}

bool wake(int fd) noexcept {
    char byte = '!';
    return transfer(pwritev2, write, POLLOUT, fd, &byte, 1) == 1 || errno == EAGAIN;
}

bool wake_receiver(int receiver) noexcept {
    if (receiver < 0) return false;
    std::array<char, 32> name{};
    std::snprintf(name.data(), name.size(), "/proc/self/fd/%d", receiver);
    const base::UniqueFd sender(open(name.data(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    return wake(sender.get());
}

void clear_wakes(int fd) noexcept {
    std::array<char, 256> scrap{};
    const auto all = static_cast<ssize_t>(scrap.size());
    while (transfer(preadv2, read, POLLIN, fd, scrap.data(), scrap.size()) == all) {
    }
}

} // namespace prong::os
