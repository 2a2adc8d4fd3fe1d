// Answers programs that have the same key, such as listener_client.py.

#include <prong/error.hpp>
#include <prong/listener.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cctype>
#include <iostream>
#include <string>

void serve(prong::Connection connection) {
    try {
        for (;;) {
            const auto bytes = connection.recv_bytes();
            std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            std::ranges::transform(text, text.begin(), [](unsigned char c) {
                return static_cast<char>(std::toupper(c));
            });
            connection.send_bytes(text);
        }
    } catch (const prong::EndOfFile&) { // the client has closed its end
    }
}

int main(int argc, char** argv) {
    CLI::App app("Answers clients that have the key");
    std::string address = "localhost:0";
    std::string key = "a shared secret";
    int clients = 1;
    app.add_option("--address", address, "host:port, /path or @name");
    app.add_option("--key", key, "the secret that clients must have");
    app.add_option("--clients", clients, "end after so many clients");
    CLI11_PARSE(app, argc, argv);

    prong::Listener listener(address, key);
    std::cout << "listening at " << listener.address() << std::endl;
    for (int i = 0; i < clients; ++i) {
        serve(listener.accept()); // not reached by clients with another key
        std::cout << "a client has gone\n";
    }
}
