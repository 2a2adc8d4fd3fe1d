#include "os/descriptor.hpp"

#include "base/errno.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>

namespace prong::os {
namespace {

constexpr int first_lifted = 64;
constexpr int first_free = STDERR_FILENO + 1;

/// Opens a descriptor that can be neither read nor written, for `dup3`. The second kind needs no
/// file system.
base::UniqueFd open_dead() noexcept {
    base::UniqueFd dead(open("/dev/null", O_PATH | O_CLOEXEC));
    return dead ? std::move(dead) : base::UniqueFd(epoll_create1(EPOLL_CLOEXEC));
}

/// Opens a descriptor that reads as empty and discards what is written; a dead one without `/dev`.
base::UniqueFd open_null() noexcept {
    base::UniqueFd null(open("/dev/null", O_RDWR));
    return null ? std::move(null) : open_dead();
}

/// Opens 0, 1 and 2 if they are closed, so that no other file gets their numbers.
void fill_standard() noexcept {
    for (int fd = 0; fd < first_free; ++fd) {
        if (fcntl(fd, F_GETFD) >= 0) continue;
        base::UniqueFd null = open_null();
        if (null.get() == fd) static_cast<void>(null.release()); // the lowest number that is free
    }
}

/// Returns whether the descriptor is a socket that leads to another program: a network socket, or a
/// local one that has an address or is connected to one.
bool is_network_socket(int fd) noexcept {
    const auto has_address = [fd](auto get_name) {
        sockaddr_storage address{};
        socklen_t length = sizeof(address);
        if (get_name(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
        return address.ss_family != AF_UNIX || length > offsetof(sockaddr, sa_data);
    };
    return has_address(getsockname) || has_address(getpeername);
}

/// Replaces this descriptor by a dead one; keeps its close-on-exec flag.
void make_dead(int fd, const base::UniqueFd& dead) noexcept {
    const int flags = fcntl(fd, F_GETFD);
    const int result = base::retry_interrupted(
        [&] { return dup3(dead.get(), fd, (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0); });
    // Fails beyond a lowered RLIMIT_NOFILE; then no later `open` gets the number either.
    if (result < 0) close(fd);
}

} // namespace

base::UniqueFd lift(base::UniqueFd fd) {
    if (!fd || fd.get() >= first_lifted) return fd;
    base::UniqueFd lifted(fcntl(fd.get(), F_DUPFD_CLOEXEC, first_lifted));
    if (lifted) return lifted;
    if (fd.get() >= first_free) return fd;
    lifted = base::UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, first_free));
    if (!lifted) base::throw_errno("fcntl(F_DUPFD_CLOEXEC)");
    return lifted;
}

std::optional<FileId> FileId::of(int fd) noexcept {
    struct stat status {};
    if (fstat(fd, &status) != 0) return std::nullopt;
    return FileId{.device = status.st_dev, .inode = status.st_ino};
}

GuardedFd::GuardedFd(base::UniqueFd fd) noexcept : fd_(fd.release()), id_(FileId::of(fd_)) {}

int GuardedFd::get() const noexcept {
    return fd_ >= 0 && id_ && FileId::of(fd_) == id_ ? fd_ : -1;
}

void GuardedFd::reset() noexcept {
    release().reset();
}

base::UniqueFd GuardedFd::release() noexcept {
    base::UniqueFd fd(get());
    fd_ = -1;
    return fd;
}

void visit_open_descriptors(const std::function<void(int)>& visit) {
    if (DIR* const directory = opendir("/proc/self/fd")) {
        while (const dirent* const entry = readdir(directory)) {
            char* end = nullptr;
            const long fd = std::strtol(entry->d_name, &end, 10);
            if (*end == '\0' && fd != dirfd(directory)) visit(static_cast<int>(fd));
        }
        closedir(directory);
        return;
    }
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    const auto most = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
    std::array<pollfd, 256> entries{};
    for (int begin = 0; begin < most;) {
        const int count = std::min(most - begin, static_cast<int>(entries.size()));
        for (int i = 0; i < count; ++i)
            entries[static_cast<std::size_t>(i)] = {.fd = begin + i, .events = 0, .revents = 0};
        const auto nfds = static_cast<nfds_t>(count);
        if (base::retry_interrupted([&] { return poll(entries.data(), nfds, 0); }) < 0) return;
        for (int i = 0; i < count; ++i) {
            if ((entries[static_cast<std::size_t>(i)].revents & POLLNVAL) == 0) visit(begin + i);
        }
        begin += count;
    }
}

void give_up_descriptors(Inherited inherited, std::span<const int> kept,
                         std::span<const int> own) noexcept {
    fill_standard();
    const base::UniqueFd dead = open_dead();
    visit_open_descriptors([&](int fd) {
        const bool is_own = fd == dead.get() || std::ranges::find(own, fd) != own.end();
        if (is_own) return;
        if (fd < first_free) {
            if (!is_network_socket(fd)) return;
            const base::UniqueFd null = open_null();
            base::retry_interrupted([&] { return dup2(null.get(), fd); });
            return;
        }
        const bool stays = inherited == Inherited::all_but_network
                               ? !is_network_socket(fd)
                               : std::ranges::find(kept, fd) != kept.end();
        if (!stays) make_dead(fd, dead);
    });
}

void restore_numbers(std::span<PassedFd> passed, std::span<base::UniqueFd* const> own) {
    const auto is_wanted = [passed](int number) {
        return std::ranges::find(passed, number, &PassedFd::number) != passed.end();
    };
    const auto move_away = [&is_wanted](base::UniqueFd& fd) {
        for (int least = first_free;;) {
            base::UniqueFd moved(fcntl(fd.get(), F_DUPFD_CLOEXEC, least));
            if (!moved) base::throw_errno("fcntl(F_DUPFD_CLOEXEC)");
            least = moved.get() + 1;
            if (is_wanted(moved.get())) continue;
            fd = std::move(moved);
            return;
        }
    };
    for (base::UniqueFd* const fd : own) {
        if (is_wanted(fd->get())) move_away(*fd);
    }
    for (PassedFd& one : passed) {
        if (is_wanted(one.fd.get())) move_away(one.fd);
    }
    for (const PassedFd& one : passed) {
        const int flags = (one.flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0;
        const int result =
            base::retry_interrupted([&] { return dup3(one.fd.get(), one.number, flags); });
        if (result < 0) base::throw_errno("dup3");
    }
}

} // namespace prong::os
