#include "ipc/listening.hpp"

#include "base/errno.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

namespace prong::ipc {
namespace {

std::optional<os::FileId> file_at(const std::string& path) {
    const base::UniqueFd file(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    return os::FileId::of(file.get());
}

/// Returns whether the address is the name of a file. (Abstract names begin with a zero byte.)
bool has_file(const Address& address) {
    return address.family() == AF_UNIX && !address.text().starts_with('@');
}

base::UniqueFd make_socket(int family, int type) {
    base::UniqueFd made(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!made) base::throw_errno("socket");
    return os::lift(std::move(made));
}

bool bind_to(const base::UniqueFd& socket, const Address& address) {
    return bind(socket.get(), address.data(), address.length()) == 0;
}

/// Returns whether this is the file of a socket that no process has any more.
bool is_stale(const Address& address) {
    struct stat status {};
    if (lstat(address.text().c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
    // Of another type, so that no connection is made: a socket that is there answers EPROTOTYPE.
    const base::UniqueFd probe = make_socket(AF_UNIX, SOCK_DGRAM);
    return connect(probe.get(), address.data(), address.length()) != 0 && errno == ECONNREFUSED;
}

/// Binds in place of a listener that was killed, if its file is what stands there.
bool replace_stale(const base::UniqueFd& socket, const Address& address) {
    const std::string path = address.text();
    // While one has the abstract name, no other one can take the new file for the stale one.
    const base::UniqueFd turn = make_socket(AF_UNIX, SOCK_STREAM);
    if (bind_to(turn, resolve("@" + path).front()) && is_stale(address) &&
        unlink(path.c_str()) == 0 && bind_to(socket, address))
        return true;
    errno = EADDRINUSE;
    return false;
}

} // namespace

base::UniqueFd listen_at(const Address& address, int backlog, bool reuse_address) {
    base::UniqueFd listener = make_socket(address.family(), SOCK_STREAM);
    const std::string text = address.text();
    const int on = 1;
    if (address.family() != AF_UNIX && reuse_address)
        setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const bool is_bound = bind_to(listener, address) || (errno == EADDRINUSE && has_file(address) &&
                                                         replace_stale(listener, address));
    if (!is_bound) base::throw_errno(("bind to " + text).c_str());
    if (listen(listener.get(), backlog) != 0) base::throw_errno(("listen at " + text).c_str());
    return listener;
}

bool concerns_one_client(int error) {
    constexpr std::array errors{EAGAIN,    EINTR,        ECONNABORTED, EPERM,
                                EPROTO,    ENOPROTOOPT,  ENETDOWN,     ENETUNREACH,
                                EHOSTDOWN, EHOSTUNREACH, ENONET,       EOPNOTSUPP};
    return std::ranges::find(errors, error) != errors.end();
}

SocketFile::SocketFile(const Address& address) : path_(address.text()), owner_(os::fork_depth()) {
    if (!has_file(address)) return;
    std::error_code error;
    const auto absolute = std::filesystem::absolute(path_, error);
    if (!error) path_ = absolute; // the program may change its working directory
    id_ = file_at(path_);
}

void SocketFile::remove() noexcept {
    if (id_ && owner_ == os::fork_depth() && file_at(path_) == id_) unlink(path_.c_str());
    id_.reset();
}

} // namespace prong::ipc
