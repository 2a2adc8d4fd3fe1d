// Serves TCP connections by a bounded number of worker processes, and answers in upper case.
// Further clients wait or are refused. A client that crashes its worker affects no other client.
// Talk to it with tcp_client; SIGTERM or Ctrl-C ends it when the last client has left.

#include "answer_in_upper_case.hpp"

#include <prong/asio.hpp>

#include <CLI/CLI.hpp>
#include <boost/asio.hpp>

#include <csignal>
#include <cstddef>
#include <iostream>

namespace asio = boost::asio;
using asio::ip::tcp;

int main(int argc, char** argv) {
    CLI::App app("Answers connections in upper case, at most as many at once as there are workers");
    unsigned short port = 0;
    int workers = 2;
    std::size_t waiting = 0;
    bool refuse = false;
    app.add_option("--port", port, "port on 127.0.0.1 (default: any that is free)");
    app.add_option("--workers", workers, "how many serve a client each (default: 2)");
    app.add_option("--waiting", waiting, "how many more are accepted and wait (default: 0)");
    app.add_flag("--refuse", refuse, "refuse further clients, which else wait to be accepted");
    CLI11_PARSE(app, argc, argv);

    asio::io_context context;
    prong::TcpServer server(
        context, tcp::endpoint(asio::ip::address_v4::loopback(), port),
        {
            .workers = workers,
            .max_connections = static_cast<std::size_t>(workers) + waiting,
            .when_full = refuse ? prong::WhenFull::refuse : prong::WhenFull::wait,
            .refusal = "too many clients\n",
        },
        answer_in_upper_case);
    std::cout << "listening on port " << server.local_endpoint().port() << std::endl;

    asio::signal_set signals(context, SIGTERM, SIGINT);
    signals.async_wait([&](auto, int) { server.stop(); });
    server.async_run([&](const std::exception_ptr& error) {
        signals.cancel();
        if (error) std::rethrow_exception(error);
    });
    context.run();
    const prong::ServerStats stats = server.stats();
    std::cout << stats.served << " served, " << stats.crashed << " crashed, " << stats.refused
              << " refused" << std::endl;
}
