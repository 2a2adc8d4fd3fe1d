// How servers end, and what happens when something that they need is not there.

#include "asio/serving.hpp"
#include "executor/helpers.hpp"
#include "support/check_child.hpp"
#include "support/sanitizer.hpp"

#include <prong/asio.hpp>
#include <prong/zygote.hpp>

#include <fcntl.h>

#include <deque>
#include <memory>

using namespace prong::test;
using Catch::Contains;

namespace {

constexpr auto obey_tcp = &obey<tcp::socket>;
const ServerOptions one_worker{.workers = 1};

bool is_refused(const tcp::endpoint& server) {
    try {
        Client{server};
        return false;
    } catch (const boost::system::system_error& error) {
        return error.code() == net::error::connection_refused;
    }
}

/// A server in an event loop that the test runs itself.
struct ByHand {
    explicit ByHand(const ServerOptions& options = one_worker)
        : server(std::in_place, context, any_port(), options, obey_tcp) {
        server->async_run([this](const std::exception_ptr& error) { end = text_of(error); });
    }

    net::io_context context;
    std::optional<TcpServer> server;
    std::string end = "not yet";
};

} // namespace

TEST_CASE("stop lets the connections end, also those that wait") {
    ServingTcp serving(any_port(), {.workers = 1, .max_connections = 2}, obey_tcp);
    Client served = serving.connect();
    REQUIRE(served.ask("hello") == "hello");
    std::optional<Client> waiting(std::in_place, serving->local_endpoint());
    REQUIRE(serving.eventually_stats([](const ServerStats& stats) { return stats.waiting == 1; }));
    served.send("await stop");
    serving->stop();
    serving->stop();
    CHECK(is_refused(serving->local_endpoint()));
    CHECK(served.receive() == "await stop");
    CHECK(served.ask("leave").empty());
    CHECK(waiting->ask("await stop") == "await stop");
    waiting.reset();
    CHECK(serving.end() == "none");
    CHECK(serving->stats().served == 2);
}

TEST_CASE("stop of an idle server, or before it runs") {
    ByHand idle;
    idle.context.poll();
    CHECK(idle.end == "not yet");
    idle.server->stop();
    idle.context.run();
    CHECK(idle.end == "none");

    net::io_context context;
    TcpServer server(context, any_port(), one_worker, obey_tcp);
    server.stop();
    auto first = server.async_run(net::use_future);
    auto second = server.async_run(net::use_future);
    context.run();
    first.get();
    second.get();
}

TEST_CASE("connections that do not end in time are killed") {
    ServingTcp serving(any_port(), {.workers = 1, .max_connections = 3, .drain_timeout = 100ms},
                       obey_tcp);
    Client client = serving.connect();
    REQUIRE(client.ask("hello") == "hello");
    Client waiting = serving.connect();
    REQUIRE(serving.eventually_stats([](const ServerStats& stats) { return stats.waiting == 1; }));
    client.send("hang");
    serving->stop();
    CHECK(client.receive().empty());
    CHECK(waiting.receive().empty());
    CHECK(serving.end() == "none");
    CHECK(serving->stats().killed == 2);
}

TEST_CASE("connections that end before the limit of stop") {
    ServingTcp serving(any_port(), {.workers = 1, .drain_timeout = 1h}, obey_tcp);
    Client client = serving.connect();
    CHECK(client.ask("hello") == "hello");
    serving->stop();
    CHECK(client.ask("hello") == "hello");
    CHECK(client.ask("leave").empty());
    CHECK(serving.end() == "none");
}

TEST_CASE("cancellation of async_run is a stop") {
    const auto type = GENERATE(net::cancellation_type::terminal, net::cancellation_type::total);
    net::io_context context;
    TcpServer server(context, any_port(), one_worker, obey_tcp);
    net::cancellation_signal signal;
    std::string end = "not yet";
    server.async_run(net::bind_cancellation_slot(
        signal.slot(), [&](const std::exception_ptr& error) { end = text_of(error); }));
    context.poll();
    signal.emit(type);
    CHECK(end == "not yet");
    context.run();
    CHECK(end == "none");
    CHECK(is_refused(server.local_endpoint()));
}

TEST_CASE("async_run takes every kind of token") {
    net::io_context context;
    TcpServer server(context.get_executor(), any_port(), one_worker, obey_tcp);
    int ends = 0;
    server.async_run(net::deferred)([&](const std::exception_ptr&) { ++ends; });
    server.async_run(net::as_tuple([&](const std::tuple<std::exception_ptr>&) { ++ends; }));
    server.async_run(net::detached);
    net::co_spawn(context, server.async_run(), [&](const std::exception_ptr&) { ++ends; });
    context.poll();
    server.stop();
    context.run();
    CHECK(ends == 3);
}

TEST_CASE("a server that is destroyed ends its connections") {
    ServingTcp serving(any_port(), {.workers = 1, .max_connections = 2}, obey_tcp);
    Client client = serving.connect();
    REQUIRE(client.ask("hello") == "hello");
    Client waiting = serving.connect();
    const tcp::endpoint address = serving->local_endpoint();
    serving.destroy();
    CHECK(client.receive().empty());
    CHECK(waiting.receive().empty());
    CHECK(is_refused(address));
    CHECK(serving.end() == net::error::make_error_code(net::error::operation_aborted).message());
}

TEST_CASE("a context may be destroyed before its server") {
    auto context = std::make_unique<net::io_context>();
    TcpServer server(*context, any_port(), one_worker, obey_tcp);
    bool is_called = false;
    SECTION("that does not run") {}
    SECTION("that runs") {
        server.async_run([&](const std::exception_ptr&) { is_called = true; });
        context->poll();
    }
    SECTION("that serves") {
        server.async_run([&](const std::exception_ptr&) { is_called = true; });
        Client client(server.local_endpoint());
        client.send("hello");
        while (!client.has_answer()) context->poll();
        context.reset();
        CHECK(client.receive() == "hello");
        CHECK(client.ask("again") == "again");
    }
    context.reset();
    CHECK(!is_called);
    CHECK(is_refused(server.local_endpoint()));
    CHECK(server.stats().refused == 0);
    server.stop();
}

TEST_CASE("a server whose supervisor is killed says so at once") {
    SECTION("while it is idle") {
        ServingTcp serving(any_port(), one_worker, obey_tcp);
        CHECK(serving.connect().ask("hello") == "hello");
        kill(supervisor_of(getpid()), SIGKILL);
        CHECK(serving.end() == "BrokenProcessPool");
        CHECK(is_refused(serving->local_endpoint()));
    }
    SECTION("while it serves") {
        ServingTcp serving(any_port(), {.workers = 1, .max_connections = 2}, obey_tcp);
        Client client = serving.connect();
        CHECK(client.ask("hello") == "hello");
        Client waiting = serving.connect();
        REQUIRE(
            serving.eventually_stats([](const ServerStats& stats) { return stats.waiting == 1; }));
        kill(supervisor_of(getpid()), SIGKILL);
        CHECK(client.receive().empty());
        CHECK(waiting.receive().empty());
        CHECK(serving.end() == "BrokenProcessPool");
        CHECK(
            serving.eventually_stats([](const ServerStats& stats) { return stats.crashed == 2; }));
    }
    SECTION("while it drains") {
        ServingTcp serving(any_port(), one_worker, obey_tcp);
        Client client = serving.connect();
        CHECK(client.ask("hello") == "hello");
        serving->stop();
        kill(supervisor_of(getpid()), SIGKILL);
        CHECK(client.receive().empty());
        CHECK(serving.end() == "BrokenProcessPool");
        CHECK(
            serving.eventually_stats([](const ServerStats& stats) { return stats.crashed == 1; }));
    }
}

TEST_CASE("a server whose workers cannot start says so") {
    ServingTcp serving(
        any_port(),
        {.workers = 1, .pool = {.initializer = [] { throw std::runtime_error("no tables"); }}},
        obey_tcp);
    CHECK(serving.end() == "BrokenProcessPool");
}

TEST_CASE("an idle server does nothing") {
    ByHand idle;
    while (idle.context.poll() != 0) {
    }
    CHECK(idle.context.run_for(200ms) == 0);
    {
        Client client(idle.server->local_endpoint());
        client.send("hello");
        while (!client.has_answer()) idle.context.poll();
    }
    while (idle.server->stats().served == 0) idle.context.poll();
    while (idle.context.poll() != 0) {
    }
    CHECK(idle.context.run_for(200ms) == 0);
}

TEST_CASE("a server without descriptors goes on when there are some") {
    if (address_sanitizer) return;
    check_child([] {
        ByHand serving({.workers = 1, .on_error = [](const std::exception_ptr& error) {
                            require(text_of(error) != "none", "an error");
                        }});
        serving.context.poll();
        std::deque<Client> clients;
        for (int i = 0; i < 3; ++i) clients.emplace_back(serving.server->local_endpoint());
        std::vector<int> taken;
        for (int fd = open("/dev/null", O_RDONLY); fd >= 0; fd = open("/dev/null", O_RDONLY))
            taken.push_back(fd);
        require(serving.context.run_for(300ms) <= 8, "the event loop is not busy");
        require(serving.server->stats().accepted == 0, "no client is accepted");
        for (const int fd : taken) close(fd);
        for (Client& client : clients) {
            client.send("hello");
            while (!client.has_answer()) serving.context.poll();
            client.send("leave");
        }
    });
}

TEST_CASE("a copy of the process can neither use the server nor disturb it") {
    ByHand serving;
    serving.context.poll();
    check_child([&] {
        for (const auto& use : std::vector<std::function<void()>>{
                 [&] { serving.server->stop(); },
                 [&] { static_cast<void>(serving.server->stats()); },
                 [&] { serving.server->async_run([](const std::exception_ptr&) {}); }})
            require_throws<std::logic_error>(use, "use in a copy");
        serving.server.reset();
    });
    Client client(serving.server->local_endpoint());
    client.send("hello");
    while (!client.has_answer()) serving.context.poll();
    CHECK(client.receive() == "hello");
}

TEST_CASE("with a zygote, a server's function must travel") {
    check_child([] {
        prong::start_zygote();
        const auto check = [](auto serve) {
            ServingTcp serving(any_port(), one_worker, serve);
            require(serving.connect().ask("hello") == "hello", "an answer");
        };
        check(obey_tcp);
        check([](tcp::socket& socket) { obey(socket); });
        check(
            prong::with_captures([function = obey_tcp](tcp::socket& socket) { function(socket); }));
        net::io_context context;
        const std::string text = require_throws<std::invalid_argument>(
            [&] {
                TcpServer(context, any_port(), one_worker,
                          [text = std::string()](tcp::socket& socket) { obey(socket); });
            },
            "a lambda with captures");
        require(text.find("zygote") != text.npos, "a text that names the zygote");
    });
}

TEST_CASE("options out of range are refused") {
    net::io_context context;
    const auto make = [&](const ServerOptions& options) {
        TcpServer(context, any_port(), options, obey_tcp);
    };
    CHECK_THROWS_AS(make({.workers = 0}), std::invalid_argument);
    CHECK_THROWS_AS(make({.max_connections = 0}), std::invalid_argument);
    CHECK_THROWS_AS(make({.backlog = 0}), std::invalid_argument);
    CHECK_THROWS_AS(make({.connection = {.deadline = 1s}}), std::invalid_argument);
    CHECK_THROWS_AS(make({.connection = {.max_retries = 1}}), std::invalid_argument);
    CHECK_THROWS_AS(make({.pool = {.max_pending = 1}}), std::invalid_argument);
    const TcpServer first(context, any_port(), one_worker, obey_tcp);
    CHECK_THROWS_WITH(TcpServer(context, first.local_endpoint(), one_worker, obey_tcp),
                      Contains("bind to 127.0.0.1"));
}
