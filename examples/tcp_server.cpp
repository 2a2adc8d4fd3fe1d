// Serves each TCP connection in a separate process, and answers in upper case. A client that
// crashes its process affects no other client. Talk to it with tcp_client.

#include <prong/process.hpp>

#include <CLI/CLI.hpp>
#include <boost/asio.hpp>

#include <algorithm>
#include <cctype>
#include <csignal>
#include <iostream>
#include <list>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;

/// Runs in the child, until the client has closed the connection.
void serve(tcp::socket& socket) {
    std::string buffer(4096, '\0');
    boost::system::error_code error;
    for (;;) {
        const std::size_t size = socket.read_some(asio::buffer(buffer), error);
        if (error) return;
        std::transform(buffer.begin(), buffer.end(), buffer.begin(),
                       [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
        asio::write(socket, asio::buffer(buffer, size), error);
        if (error) return;
    }
}

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
            serve(socket);
        });
        processes.back().start();
        processes.remove_if([](const prong::Process& process) { return !process.is_alive(); });
    }
} // waits for the clients that are still being served
