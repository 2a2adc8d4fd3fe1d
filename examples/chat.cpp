// Lets two processes talk over a pipe. Each speaks and listens at once, in one thread.

#include <prong/asio.hpp>
#include <prong/pipe.hpp>
#include <prong/process.hpp>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include <exception>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace net = boost::asio;
using Lines = std::vector<std::string>;

net::awaitable<void> speak(prong::Connection& connection, Lines lines) {
    for (const std::string& line : lines) co_await connection.async_send(line);
    co_await connection.async_send("bye");
}

net::awaitable<void> listen(prong::Connection& connection, std::string name) {
    Lines heard;
    while (heard.empty() || heard.back() != "bye")
        heard.push_back(co_await connection.async_recv<std::string>());
    for (const std::string& line : heard) std::cout << name << " hears: " << line << "\n";
}

/// Runs a coroutine to its end, in the thread that calls.
void run(net::io_context& loop, net::awaitable<void> coroutine) {
    net::co_spawn(loop, std::move(coroutine), [](const std::exception_ptr& error) {
        if (error) std::rethrow_exception(error);
    });
    loop.run();
}

void be_bob(prong::Connection connection) {
    using namespace net::experimental::awaitable_operators;
    net::io_context loop;
    run(loop, speak(connection, {"hello, alice", "cloudy"}) && listen(connection, "bob"));
}

net::awaitable<void> be_alice(prong::Connection& connection, const prong::Process& bob) {
    const Lines lines{"hello, bob", "how is the weather?"};
    co_await speak(connection, lines);
    const int exitcode = co_await bob.async_wait();
    std::cout << "bob has left with exit code " << exitcode << "\n";
    co_await listen(connection, "alice"); // what he has said is still there
}

int main() {
    auto [connection, bobs_end] = prong::Pipe();
    prong::Process bob(be_bob, std::move(bobs_end));
    bob.start();
    net::io_context loop;
    run(loop, be_alice(connection, bob));
}
