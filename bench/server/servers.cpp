#include "servers.hpp"

#include <prong/asio.hpp>

#include <boost/asio.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

namespace bench {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

constexpr int workers = 4;

/// What all do with a connection.
void answer(tcp::socket& socket) {
    char byte = 0;
    boost::system::error_code error;
    asio::read(socket, asio::buffer(&byte, 1), error);
    if (!error) asio::write(socket, asio::buffer(&byte, 1), error);
}

const tcp::endpoint any_port(asio::ip::address_v4::loopback(), 0);

} // namespace

void serve_with_prong(const std::function<void(unsigned short)>& listening) {
    asio::io_context context(1);
    prong::TcpServer server(context, any_port, {.workers = workers, .max_connections = 2 * workers},
                            answer);
    listening(server.local_endpoint().port());
    server.async_run(asio::detached);
    context.run();
}

void serve_with_forks(const std::function<void(unsigned short)>& listening) {
    asio::io_context context(1);
    tcp::acceptor acceptor(context, any_port);
    listening(acceptor.local_endpoint().port());
    signal(SIGCHLD, SIG_IGN); // nothing reaps the children
    for (;;) {
        tcp::socket socket = acceptor.accept();
        if (fork() != 0) continue;
        answer(socket);
        _exit(0);
    }
}

void serve_in_one_process(const std::function<void(unsigned short)>& listening) {
    asio::io_context context(1);
    tcp::acceptor acceptor(context, any_port);
    listening(acceptor.local_endpoint().port());
    for (;;) {
        tcp::socket socket = acceptor.accept();
        answer(socket);
    }
}

} // namespace bench
