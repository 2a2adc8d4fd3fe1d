#pragma once

#include "base/fd.hpp"
#include "ipc/address.hpp"
#include "os/descriptor.hpp"
#include "os/fork_depth.hpp"

#include <sys/socket.h>

#include <optional>
#include <string>

namespace prong::ipc {

/// Creates a non-blocking socket that is bound to the address and listens. Replaces the file of a
/// listener that was killed. Throws `std::system_error`.
base::UniqueFd listen_at(const Address& address, int backlog = SOMAXCONN,
                         bool reuse_address = true);

/// Returns whether `accept` has failed because of one client, or of what happened to it on its way:
/// others can be accepted.
bool concerns_one_client(int error);

/// The file of a local socket that listens; nothing for other sockets. One process removes it.
class SocketFile {
public:
    SocketFile() = default;
    /// Belongs to this process. `address`: what the socket is bound to.
    explicit SocketFile(const Address& address);

    /// Lets this process remove the file, or no process.
    void own() noexcept { owner_ = os::fork_depth(); }
    void disown() noexcept { id_.reset(); }

    /// Removes the file if it belongs to this process and is still the same one. Call it before the
    /// socket is closed: until then no other file has its number.
    void remove() noexcept;

private:
    std::string path_;
    std::optional<os::FileId> id_; ///< nothing: no file
    unsigned owner_ = 0;           ///< `os::fork_depth()` of the process that removes it
};

} // namespace prong::ipc
