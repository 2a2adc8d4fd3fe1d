#pragma once

#include "base/fd.hpp"

#include <sys/types.h>

#include <functional>
#include <optional>
#include <span>

/// Descriptors in a process that prong shares with user code. User code may close any number and
/// reuse it, and may remember numbers.
namespace prong::os {

/// Moves a new descriptor of prong to a number that programs do not use by convention: 64 or above,
/// or 3 or above where RLIMIT_NOFILE is small. Never returns 0, 1 or 2, to which a program that was
/// started without them writes. Returns an empty argument as it is. Throws `std::system_error`.
base::UniqueFd lift(base::UniqueFd fd);

/// Identifies an open file, pipe or socket: two descriptors with the same identity refer to the
/// same one.
struct FileId {
    dev_t device;
    ino_t inode;

    /// Returns nothing if the number is not open.
    static std::optional<FileId> of(int fd) noexcept;
    friend bool operator==(const FileId&, const FileId&) = default;
};

/// A descriptor that stays open while user code runs, which may close or reuse its number. Each use
/// asks `get()` first.
class GuardedFd {
public:
    GuardedFd() = default;
    explicit GuardedFd(base::UniqueFd fd) noexcept;
    GuardedFd(GuardedFd&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)), id_(std::exchange(other.id_, std::nullopt)) {}
    GuardedFd& operator=(GuardedFd&& other) noexcept {
        std::swap(fd_, other.fd_);
        std::swap(id_, other.id_);
        return *this;
    }
    ~GuardedFd() { reset(); }

    /// Returns the number, or -1 if it no longer refers to the file that it had when this object
    /// was created.
    [[nodiscard]] int get() const noexcept;

    /// Returns whether there ever was a descriptor.
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

    /// Closes the descriptor, unless its number refers to something else by now.
    void reset() noexcept;

    /// Gives up ownership and returns the descriptor; an empty one if its number refers to
    /// something else by now.
    [[nodiscard]] base::UniqueFd release() noexcept;

private:
    int fd_ = -1;
    std::optional<FileId> id_;
};

/// Which inherited descriptors a process keeps. It always keeps 0, 1 and 2.
enum class Inherited : unsigned char {
    all_but_network, ///< all but sockets that lead to other programs
    listed,          ///< the listed ones
};

/// Gives up the inherited descriptors that this process is not to keep, so that their files,
/// connections, locks and pipes can end without it. Their numbers stay in use but dead: reading and
/// writing fails, and no later `open` returns a number that a library still takes for its
/// connection. A standard descriptor that was closed, or is a socket that leads to another program,
/// becomes `/dev/null`. A nameless pair of sockets (`socketpair`) leads to no other program.
///
/// `kept` are the listed descriptors. `own` are prong's descriptors, which stay as they are. For a
/// process with one thread.
void give_up_descriptors(Inherited inherited, std::span<const int> kept,
                         std::span<const int> own) noexcept;

/// Calls `visit` for each open descriptor; works without `/proc` as well.
void visit_open_descriptors(const std::function<void(int)>& visit);

/// A descriptor received from another process, with the number and flags that it had there.
struct PassedFd {
    base::UniqueFd fd;
    int number;
    int flags; ///< as returned by F_GETFD
};

/// Gives passed descriptors their original numbers, closing what those refer to here, and moves
/// `own` away from them. Throws `std::system_error`.
void restore_numbers(std::span<PassedFd> passed, std::span<base::UniqueFd* const> own);

} // namespace prong::os
