// Compares servers. README.md says how to read the figures.

#include "../harness/isolated.hpp"
#include "../harness/timing.hpp"
#include "marks.hpp"
#include "servers.hpp"

#include <boost/asio.hpp>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace {

using namespace bench;
namespace asio = boost::asio;
using asio::ip::tcp;

/// A child that ends with this process at the latest.
template <typename Body>
pid_t start_process(Body body) {
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
        body();
    } catch (...) {
        _exit(1);
    }
    _exit(0);
}

/// Makes connections one after another. Returns their number.
std::int64_t connect_for(double seconds, unsigned short port) {
    const tcp::endpoint server(asio::ip::address_v4::loopback(), port);
    asio::io_context context(1);
    std::int64_t count = 0;
    for (const Stopwatch watch; watch.seconds() < seconds; ++count) {
        tcp::socket socket(context);
        socket.connect(server);
        char byte = 'x';
        asio::write(socket, asio::buffer(&byte, 1));
        asio::read(socket, asio::buffer(&byte, 1));
        boost::system::error_code end;
        if (asio::read(socket, asio::buffer(&byte, 1), end) != 0 || end != asio::error::eof)
            throw std::runtime_error("the connection does not end");
    }
    return count;
}

Figures measure(Server& serve, int clients, double seconds) {
    int port_pipe[2];
    int count_pipe[2];
    if (pipe(port_pipe) != 0 || pipe(count_pipe) != 0) throw std::runtime_error("no pipe");
    const pid_t server = start_process([&] {
        serve([&](unsigned short port) {
            if (write(port_pipe[1], &port, sizeof(port)) != sizeof(port)) _exit(1);
        });
    });
    unsigned short port = 0;
    if (read(port_pipe[0], &port, sizeof(port)) != sizeof(port))
        throw std::runtime_error("the server does not start");
    connect_for(0.1, port); // all is warm then
    std::vector<pid_t> children;
    for (int i = 0; i < clients; ++i) {
        children.push_back(start_process([&] {
            const std::int64_t count = connect_for(seconds, port);
            if (write(count_pipe[1], &count, sizeof(count)) != sizeof(count)) _exit(1);
        }));
    }
    std::int64_t total = 0;
    for (const pid_t child : children) {
        int status = 0;
        waitpid(child, &status, 0);
        std::int64_t count = 0;
        if (status != 0 || read(count_pipe[0], &count, sizeof(count)) != sizeof(count))
            throw std::runtime_error("a client failed");
        total += count;
    }
    kill(server, SIGKILL);
    waitpid(server, nullptr, 0);
    return {{"connections_per_s", static_cast<double>(total) / seconds}};
}

Entry entry(std::string name, Server& serve) {
    return {std::move(name), [&serve](const Workload&, int clients, double seconds) {
                return isolated_figures([&] { return measure(serve, clients, seconds); });
            }};
}

Suite make_suite(const std::string& /*script*/) {
    return {
        .title = "Servers",
        .size_name = "clients",
        .workloads = {{"connections",
                       {{"connections_per_s", "short connections", "connections/s", true}},
                       {1, 4}}},
        .entries =
            {
                entry(ours, serve_with_prong),
                entry(fork_per_connection, serve_with_forks),
                entry(in_one_process, serve_in_one_process),
            },
        .print_marks = print_server_marks,
    };
}

} // namespace

int main(int argc, char** argv) {
    return run_suite(argc, argv, make_suite);
}
