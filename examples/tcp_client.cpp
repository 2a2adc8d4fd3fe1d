// Sends each line of standard input to tcp_server and prints the answer.

#include <CLI/CLI.hpp>
#include <boost/asio.hpp>

#include <iostream>
#include <string>

namespace asio = boost::asio;
using asio::ip::tcp;

int main(int argc, char** argv) {
    CLI::App app("Sends each line of input to tcp_server and prints the answer");
    unsigned short port = 0;
    app.add_option("--port", port, "the port that the server has printed")->required();
    CLI11_PARSE(app, argc, argv);

    asio::io_context context;
    tcp::socket socket(context);
    socket.connect(tcp::endpoint(asio::ip::address_v4::loopback(), port));
    std::string received;
    for (std::string line; std::getline(std::cin, line);) {
        asio::write(socket, asio::buffer(line + "\n"));
        const std::size_t size = asio::read_until(socket, asio::dynamic_buffer(received), '\n');
        std::cout << received.substr(0, size);
        received.erase(0, size);
    }
}
