// Servers and their clients: who is served, and what a handler does to its connection.

#include "asio/serving.hpp"
#include "executor/helpers.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"

#include <prong/asio.hpp>
#include <prong/with_captures.hpp>

#include <array>
#include <atomic>
#include <deque>
#include <filesystem>
#include <list>
#include <memory>
#include <random>
#include <set>

using namespace prong::test;
using Catch::Contains;
using prong::WhenFull;

namespace {

constexpr auto obey_tcp = &obey<tcp::socket>;

ServerOptions workers(int count) {
    return {.workers = count};
}

} // namespace

TEST_CASE("a server answers each client in a worker") {
    ServingTcp serving(any_port(), workers(2), obey_tcp);
    CHECK(serving->local_endpoint().port() != 0);
    CHECK(serving.connect().ask("hello") == "hello");
    CHECK(serving.connect().ask("pid") != std::to_string(getpid()));
    CHECK(serving.eventually_stats([](const ServerStats& stats) {
        return stats.accepted == 2 && stats.served == 2 && stats.active == 0 && stats.waiting == 0;
    }));
}

TEST_CASE("no more clients are served at once than there are workers; the others wait") {
    const auto [most, accepted] = GENERATE(std::pair(2U, 2U), std::pair(3U, 3U), std::pair(9U, 5U));
    CAPTURE(most);
    ServingTcp serving(any_port(), {.workers = 2, .max_connections = most}, obey_tcp);
    std::list<Client> clients;
    for (int i = 0; i < 5; ++i) clients.emplace_back(serving->local_endpoint()).send("hello");
    while (!clients.empty()) {
        const auto answered = [&] {
            return std::ranges::count_if(clients, [](Client& one) { return one.has_answer(); });
        };
        const auto served = std::min<std::ptrdiff_t>(2, std::ssize(clients));
        REQUIRE(eventually([&] { return answered() >= served; }));
        if (clients.size() == 5) {
            CHECK(serving.eventually_stats([&, count = accepted](const ServerStats& stats) {
                return stats.active == 2 && stats.accepted == count && stats.waiting == count - 2;
            }));
        }
        // The server has time to answer others meanwhile, but does not.
        const auto first =
            std::ranges::find_if(clients, [](Client& one) { return one.has_answer(); });
        CHECK(first->receive() == "hello");
        for (int i = 0; i < 20; ++i) CHECK(first->ask("again") == "again");
        CHECK(answered() == served - 1);
        clients.erase(first);
    }
}

TEST_CASE("a full server refuses clients if its options say so") {
    ServingTcp serving(any_port(),
                       {.workers = 1, .when_full = WhenFull::refuse, .refusal = "come later\n"},
                       obey_tcp);
    {
        Client served = serving.connect();
        REQUIRE(served.ask("hello") == "hello");
        for (int i = 0; i < 3; ++i) {
            Client refused = serving.connect();
            refused.send("that is not read");
            CHECK(refused.receive() == "come later");
            CHECK(refused.receive().empty());
        }
        CHECK(served.ask("still here") == "still here");
    }
    REQUIRE(serving.eventually_stats([](const ServerStats& stats) { return stats.served == 1; }));
    CHECK(serving.connect().ask("hello") == "hello");
    CHECK(serving->stats().refused == 3);
}

TEST_CASE("connections that end badly take no place of others") {
    ServingTcp serving(
        any_port(), {.workers = 1, .max_connections = 3, .when_full = WhenFull::refuse}, obey_tcp);
    Client crashing = serving.connect();
    REQUIRE(crashing.ask("hello") == "hello");
    Client next = serving.connect();
    Client last = serving.connect();
    REQUIRE(serving.eventually_stats([](const ServerStats& stats) { return stats.waiting == 2; }));
    CHECK(crashing.ask("crash").empty());
    REQUIRE(serving.errors(1) == std::vector<std::string>{"WorkerDied -6"});
    CHECK(next.ask("hello") == "hello");
    CHECK(serving->stats().waiting == 1);
    Client further = serving.connect();
    further.send("hello");
    REQUIRE(serving.eventually_stats(
        [](const ServerStats& stats) { return stats.accepted + stats.refused == 4; }));
    CHECK(serving->stats().refused == 0);
    next.send("leave");
    last.send("leave");
    CHECK(further.receive() == "hello");
}

TEST_CASE("after a crash a full server has room, although its new worker is not there yet") {
    const Shared<Gate> gate;
    const Shared<std::atomic<int>> starts;
    ServingTcp serving(any_port(),
                       {.workers = 1,
                        .when_full = WhenFull::refuse,
                        .pool = {.initializer =
                                     [&] {
                                         if (starts->fetch_add(1) != 0) gate->pass();
                                     }}},
                       obey_tcp);
    CHECK(serving.connect().ask("crash").empty());
    REQUIRE(serving.errors(1).size() == 1);
    CHECK(serving->stats().waiting == 0);
    Client next = serving.connect();
    next.send("hello");
    REQUIRE(serving.eventually_stats(
        [](const ServerStats& stats) { return stats.accepted + stats.refused == 2; }));
    CHECK(serving->stats().refused == 0);
    gate->open();
    CHECK(next.receive() == "hello");
}

TEST_CASE("many more clients may wait than the channel to the workers holds") {
    ServingTcp serving(any_port(), {.workers = 1, .max_connections = 1000}, obey_tcp);
    std::deque<Client> clients;
    clients.emplace_back(serving->local_endpoint());
    REQUIRE(clients.front().ask("hello") == "hello");
    for (int i = 0; i < 350; ++i) clients.emplace_back(serving->local_endpoint()).send("hello");
    REQUIRE(
        serving.eventually_stats([](const ServerStats& stats) { return stats.waiting == 350; }));
    for (clients.pop_front(); !clients.empty(); clients.pop_front())
        REQUIRE(clients.front().receive() == "hello");
}

TEST_CASE("a handler that ends badly ends its own connection only") {
    ServingTcp serving(
        any_port(),
        {.workers = 2,
         .connection = {.timeout = 500ms, .grace = 0ms, .limits = {.memory_bytes = 64 << 20}}},
        [text = std::string("a capture")](tcp::socket& socket) {
            if (text == "a capture") obey(socket);
        });
    struct End {
        std::string order;
        std::string error;
        std::uint64_t ServerStats::*count;
    };
    const End end = GENERATE(End{"leave", "", &ServerStats::served},
                             End{"throw", "thrown", &ServerStats::failed},
                             End{"crash", "WorkerDied -6", &ServerStats::crashed},
                             End{"exit", "WorkerDied 3", &ServerStats::crashed},
                             End{"hang", "TaskTimeout", &ServerStats::timed_out},
                             End{"eat", "LimitExceeded memory", &ServerStats::over_limit});
    CAPTURE(end.order);
    Client client = serving.connect();
    REQUIRE(client.ask("hello") == "hello");
    CHECK(client.ask(end.order).empty());
    if (!end.error.empty()) CHECK(serving.errors(1) == std::vector{end.error});
    CHECK(serving.eventually_stats([&](const ServerStats& stats) {
        return stats.*end.count == 1 && stats.active == 0 && stats.waiting == 0;
    }));
    for (int i = 0; i < 4; ++i) CHECK(serving.connect().ask("hello") == "hello");
}

TEST_CASE("a silent client is disconnected when its time is over") {
    ServingTcp serving(any_port(), {.workers = 1, .connection = {.timeout = 200ms}}, obey_tcp);
    Client silent = serving.connect();
    Client other = serving.connect();
    CHECK(other.ask("hello") == "hello");
    CHECK(silent.receive().empty());
}

TEST_CASE("a worker has no socket but its connection, so each connection can end") {
    ServingTcp serving(any_port(), workers(2), obey_tcp);
    Client first = serving.connect();
    Client second = serving.connect();
    CHECK(first.ask("network sockets") == "1");
    CHECK(second.ask("network sockets") == "1");
    CHECK(second.ask("crash").empty());
    Client third = serving.connect(); // served by a worker that was forked while the first is open
    CHECK(third.ask("network sockets") == "1");
    CHECK(first.ask("leave").empty());
}

TEST_CASE("a handler that closes the server's descriptors costs its worker only") {
    ServingTcp serving(any_port(), workers(1), obey_tcp);
    Client client = serving.connect();
    const std::string pid = client.ask("pid");
    CHECK(client.ask("close all") == "close all");
    CHECK(client.ask("leave").empty());
    Client next = serving.connect();
    CHECK(next.ask("pid") != pid);
}

TEST_CASE("a worker is replaced after a number of connections") {
    ServingTcp serving(any_port(), {.workers = 1, .pool = {.max_tasks_per_worker = 2}}, obey_tcp);
    std::set<std::string> pids;
    for (int i = 0; i < 8; ++i) pids.insert(serving.connect().ask("pid"));
    CHECK(pids.size() == 4);
}

TEST_CASE("the hooks of the workers' pool run") {
    static int answer = 0;
    ServingTcp serving(any_port(), {.workers = 1, .pool = {.initializer = [] { answer = 42; }}},
                       [](tcp::socket& socket) {
                           net::write(socket, net::buffer(std::to_string(answer) + "\n"));
                       });
    CHECK(serving.connect().receive() == "42");
}

TEST_CASE("a server's function may be of any kind") {
    const auto check = [](auto serve) {
        ServingTcp serving(any_port(), workers(1), serve);
        CHECK(serving.connect().ask("hello") == "hello");
    };
    SECTION("a function") {
        check(obey<tcp::socket>);
    }
    SECTION("a lambda") {
        check([](tcp::socket& socket) { obey(socket); });
    }
    SECTION("a lambda with captures") {
        check([function = std::make_shared<std::function<void(tcp::socket&)>>(obey_tcp)](
                  tcp::socket& socket) { (*function)(socket); });
    }
    SECTION("a lambda that changes its state") {
        check([calls = 0](tcp::socket& socket) mutable {
            if (++calls == 1) obey(socket);
        });
    }
    SECTION("a lambda whose captures travel") {
        check(prong::with_captures(
            [function = obey_tcp](tcp::socket& socket) mutable { function(socket); }));
    }
    SECTION("a coroutine") {
        check([](tcp::socket& socket) -> net::awaitable<void> {
            std::string line;
            co_await net::async_read_until(socket, net::dynamic_buffer(line), '\n',
                                           net::use_awaitable);
            co_await net::async_write(socket, net::buffer(line), net::use_awaitable);
        });
    }
}

TEST_CASE("a connection ends with its coroutine, whatever that has begun") {
    ServingTcp serving(any_port(), workers(1), [](tcp::socket& socket) -> net::awaitable<void> {
        auto timer = std::make_shared<net::steady_timer>(socket.get_executor(), 1h);
        timer->async_wait([timer](const auto&) {});
        co_return;
    });
    for (int i = 0; i < 2; ++i) CHECK(serving.connect().receive().empty());
}

TEST_CASE("an exception of a coroutine is the connection's") {
    ServingTcp serving(any_port(), workers(1), [](tcp::socket&) -> net::awaitable<void> {
        throw std::runtime_error("thrown");
        co_return;
    });
    CHECK(serving.connect().receive().empty());
    CHECK(serving.errors(1) == std::vector<std::string>{"thrown"});
}

TEST_CASE("local sockets") {
    using Protocol = net::local::stream_protocol;
    const TempDir folder;
    const std::string path = folder.path() / "socket";
    SECTION("with a file, which is removed in the end") {
        {
            Serving<Protocol> serving(path, workers(1), obey<Protocol::socket>);
            CHECK(serving->local_endpoint().path() == path);
            CHECK(serving.connect().ask("hello") == "hello");
            CHECK_THROWS_WITH((Serving<Protocol>(path, workers(1), obey<Protocol::socket>)),
                              Contains("bind"));
        }
        CHECK(!std::filesystem::exists(path));
    }
    SECTION("with the file of a server that was killed") {
        net::io_context context;
        Protocol::acceptor(context, path).close(); // leaves its file
        Serving<Protocol> serving(path, workers(1), obey<Protocol::socket>);
        CHECK(serving.connect().ask("hello") == "hello");
        serving->stop();
        CHECK(!std::filesystem::exists(path));
        CHECK(serving.end() == "none");
    }
    SECTION("with a relative path, from another working directory in the end") {
        check_child([&] {
            std::filesystem::current_path(folder.path());
            net::io_context context;
            prong::UnixServer server(context, "socket", workers(1), obey<Protocol::socket>);
            require(std::filesystem::exists(path), "the file is there");
            std::filesystem::current_path("/");
            server.stop();
            require(!std::filesystem::exists(path), "the file is removed");
        });
    }
    SECTION("with an abstract name") {
        const std::string name = '\0' + path;
        Serving<Protocol> serving(name, workers(1), obey<Protocol::socket>);
        CHECK(serving.connect().ask("hello") == "hello");
    }
}

TEST_CASE("thousands of connections, with several threads in the event loop") {
    ServingTcp serving(any_port(), {.workers = 2, .max_connections = 8}, obey_tcp, 3);
    constexpr int threads = 4;
    const int each = how_often(500, 10'000);
    std::atomic<int> answered = 0;
    {
        std::vector<std::jthread> clients;
        for (int i = 0; i < threads; ++i) {
            clients.emplace_back([&] {
                for (int k = 0; k < each; ++k)
                    answered += serving.connect().ask("hello") == "hello" ? 1 : 0;
            });
        }
    }
    CHECK(answered == threads * each);
    CHECK(serving.eventually_stats([&](const ServerStats& stats) {
        return stats.served == static_cast<std::uint64_t>(threads * each) && stats.active == 0;
    }));
}

TEST_CASE("workers are killed at random: each client gets an answer or the end") {
    ServingTcp serving(any_port(), {.workers = 3, .max_connections = 6}, obey_tcp);
    const pid_t supervisor = supervisor_of(getpid());
    std::atomic<int> answered = 0;
    std::atomic<int> ended = 0;
    const int each = how_often(400, 5'000);
    {
        std::vector<std::jthread> clients;
        for (int i = 0; i < 4; ++i) {
            clients.emplace_back([&] {
                for (int k = 0; k < each; ++k) {
                    const std::string answer = serving.connect().ask("hello");
                    ++(answer == "hello" ? answered : ended);
                }
            });
        }
        std::minstd_rand random(static_cast<unsigned>(test_seed()));
        while (answered + ended < 4 * each) {
            const auto workers = workers_of(supervisor);
            if (!workers.empty()) kill(workers[random() % workers.size()], SIGKILL);
            std::this_thread::sleep_for(std::chrono::milliseconds(random() % 8));
        }
    }
    INFO(answered << " answered, " << ended << " ended");
    CHECK(answered > 0);
    CHECK(serving.connect().ask("hello") == "hello");
    CHECK(serving.eventually_stats(
        [](const ServerStats& stats) { return stats.active == 0 && stats.waiting == 0; }));
}
