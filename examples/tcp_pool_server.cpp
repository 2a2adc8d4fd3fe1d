// Serves TCP connections by the workers of a pool, and answers in upper case. Each worker serves
// one client at a time; further clients wait. A client that crashes its worker affects no other
// client. Talk to it with tcp_client.

#include "answer_in_upper_case.hpp"

#include <prong/process_pool_executor.hpp>

#include <CLI/CLI.hpp>
#include <boost/asio.hpp>

#include <iostream>

namespace asio = boost::asio;
using asio::ip::tcp;

/// Runs in a worker, which has inherited the listening socket.
void serve_next(int listening) {
    static asio::io_context context;
    static tcp::acceptor acceptor(context, tcp::v4(), listening);
    tcp::socket socket = acceptor.accept();
    answer_in_upper_case(socket);
}

int main(int argc, char** argv) {
    CLI::App app("Answers connections in upper case, at most as many at once as there are workers");
    unsigned short port = 0;
    int workers = 2;
    int connections = -1;
    app.add_option("--port", port, "port on 127.0.0.1 (default: any that is free)");
    app.add_option("--workers", workers, "how many serve a client each (default: 2)");
    app.add_option("--connections", connections, "how many to serve (default: no limit)");
    CLI11_PARSE(app, argc, argv);

    asio::io_context context;
    tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), port));
    std::cout << "listening on port " << acceptor.local_endpoint().port() << std::endl;

    const int listening = acceptor.native_handle();
    prong::ProcessPoolExecutor pool({
        .max_workers = workers,
        .inherit = prong::Inherit::only({listening}),
        .max_pending = 1, // submit waits until a worker has taken the task before
    });
    while (connections < 0 || connections-- > 0)
        static_cast<void>(pool.submit(serve_next, listening));
} // waits for the clients that are still being served
