// Serves each TCP connection in a separate process, without a limit to their number, and answers in
// upper case. A client that crashes its process affects no other client. Talk to it with
// tcp_client.

#include "answer_in_upper_case.hpp"

#include <prong/process.hpp>

#include <CLI/CLI.hpp>
#include <boost/asio.hpp>

#include <iostream>
#include <list>

namespace asio = boost::asio;
using asio::ip::tcp;

int main(int argc, char** argv) {
    CLI::App app("Answers each connection in upper case, from its own process");
    unsigned short port = 0;
    int connections = -1;
    app.add_option("--port", port, "port on 127.0.0.1 (default: any that is free)");
    app.add_option("--connections", connections, "how many to serve (default: no limit)");
    CLI11_PARSE(app, argc, argv);

    // Only blocking calls: an io_context that runs must not be forked.
    asio::io_context context;
    tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), port));
    std::cout << "listening on port " << acceptor.local_endpoint().port() << std::endl;

    std::list<prong::Process> processes;
    while (connections < 0 || connections-- > 0) {
        tcp::socket socket = acceptor.accept(); // the parent's copy lives for this iteration only
        processes.emplace_back([&] {
            acceptor.close(); // the child's copy
            answer_in_upper_case(socket);
        });
        processes.back().start();
        processes.remove_if([](const prong::Process& process) { return !process.is_alive(); });
    }
} // waits for the clients that are still being served
