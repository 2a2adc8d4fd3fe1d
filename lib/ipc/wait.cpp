#include <prong/wait.hpp>

#include "os/socket.hpp"

#include <prong/connection.hpp>
#include <prong/listener.hpp>
#include <prong/process.hpp>

#include <stdexcept>

namespace prong {
namespace {

int receiving_fd(const Connection& connection) {
    const int fd = connection.fileno();
    if (!connection.readable()) {
        throw std::logic_error("prong::wait: a connection that only sends never has a message");
    }
    return fd;
}

} // namespace

Waitable::Waitable(const Connection& connection) : fd_(receiving_fd(connection)) {}

Waitable::Waitable(const Listener& listener) : fd_(listener.fileno()) {}

Waitable::Waitable(const Process& process) : fd_(process.sentinel()) {}

Waitable::Waitable(int fd) : fd_(fd) {
    if (fd < 0) throw std::invalid_argument("prong::wait: a negative descriptor");
}

std::vector<std::size_t> wait(std::span<const Waitable> items, Timeout timeout) {
    if (items.empty()) return {}; // nothing can become ready
    std::vector<int> fds;
    fds.reserve(items.size());
    for (const Waitable& item : items) fds.push_back(item.fd());
    return os::wait_readable(fds, detail::Deadline::after(timeout));
}

std::vector<std::size_t> wait(std::initializer_list<Waitable> items, Timeout timeout) {
    return wait(std::span(items.begin(), items.size()), timeout);
}

} // namespace prong
