#include <prong/wait.hpp>

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

Waitable::Waitable(const detail::TaskHandle& task) : fd_(-1), task_(&task) {
    task.require_valid();
}

Waitable::Waitable(int fd) : fd_(fd) {
    if (fd < 0) throw std::invalid_argument("prong::wait: a negative descriptor");
}

} // namespace prong
