#include <prong/detail/connection_source.hpp>

#include "base/errno.hpp"
#include "os/descriptor.hpp"
#include "os/socket.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace prong::detail {

ConnectionSource::ConnectionSource(int channel) : channel_(channel) {
    const auto id = os::FileId::of(channel);
    if (!id) base::throw_errno("fstat");
    device_ = id->device;
    inode_ = id->inode;
}

int ConnectionSource::receive() const {
    if (os::FileId::of(channel_) != os::FileId{.device = device_, .inode = inode_}) {
        // Another worker, with the channel, takes this one's place and the connection.
        std::fputs("prong: a connection's handler has closed a descriptor of the server\n", stderr);
        _exit(EXIT_FAILURE);
    }
    std::byte nothing{};
    auto message = os::try_receive_message(channel_, {&nothing, 1});
    if (!message) return -1;
    if (message->fds.empty()) base::throw_errno("recvmsg", EMFILE);
    return message->fds.front().release();
}

} // namespace prong::detail
