#include <prong/listener.hpp>
#include <prong/pipe.hpp>
#include <prong/process.hpp>
#include <prong/process_pool_executor.hpp>
#include <prong/wait.hpp>

#include "ipc/acceptor.hpp"
#include "ipc/frame.hpp"
#include "ipc/handshake.hpp"
#include "ipc/hmac.hpp"
#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <future>
#include <latch>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using Catch::Contains;
using prong::AuthenticationError;
using prong::Client;
using prong::Connection;
using prong::EndOfFile;
using prong::Listener;
using prong::Process;
using prong::detail::Acceptor;
using prong::detail::Deadline;
using prong::ipc::Handshake;
using prong::ipc::Side;

namespace {

const std::string key = "a secret";

/// A Python program that talks to the test; its output and what becomes of it.
class Python {
public:
    Python(const std::string& script, const std::vector<std::string>& arguments) {
        std::string command = "exec python3 '" PRONG_TESTS "/ipc/" + script + "'";
        for (const std::string& argument : arguments) command += " '" + argument + "'";
        output_ = popen(command.c_str(), "re");
        if (output_ == nullptr) throw std::runtime_error("no python3");
    }
    Python(const Python&) = delete;
    Python& operator=(const Python&) = delete;
    ~Python() {
        if (output_ != nullptr) pclose(output_);
    }

    std::string line() {
        std::array<char, 256> text{};
        if (fgets(text.data(), text.size(), output_) == nullptr) return "(no more output)";
        return std::string(text.data(), std::strcspn(text.data(), "\n"));
    }

private:
    FILE* output_;
};

std::string text_of(const std::vector<std::byte>& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void serve(Connection connection) {
    try {
        for (;;) connection.send_bytes(connection.recv_bytes());
    } catch (const EndOfFile&) {
    } catch (const std::system_error&) { // a client that does not wait for the answer
    }
}

/// A client without prong's handshake: the listener's challenge is its first message.
Connection raw_client(const std::string& address) {
    return Client(address);
}

void write_raw(const Connection& connection, std::string_view bytes) {
    static_cast<void>(send(connection.fileno(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
}

/// Blocks until the other side is closed.
bool is_disconnected(Connection& connection) {
    try {
        for (;;) connection.recv_bytes();
    } catch (const EndOfFile&) {
        return true;
    }
}

std::string receive_raw(const Connection& connection, std::size_t size) {
    std::string bytes(size, '\0');
    const ssize_t received = recv(connection.fileno(), bytes.data(), size, MSG_WAITALL);
    bytes.resize(static_cast<std::size_t>(std::max<ssize_t>(received, 0)));
    return bytes;
}

/// Makes the client's side of the handshake, but sends one byte at a time, and only so many.
/// Returns how many it would have sent.
std::size_t shake_hands_slowly(const Connection& connection, std::size_t most) {
    Handshake handshake(Side::client, key);
    std::size_t sent = 0;
    for (;;) {
        for (const char byte : handshake.take_output()) {
            if (sent == most) return sent;
            write_raw(connection, {&byte, 1});
            ++sent;
        }
        const auto room = handshake.room();
        if (room.empty()) return sent;
        const std::string bytes = receive_raw(connection, 1);
        if (bytes.empty()) return sent;
        room.front() = static_cast<std::byte>(bytes.front());
        handshake.received(1);
    }
}

std::string header_text(std::uint64_t size) {
    const prong::ipc::FrameHeader header(size);
    return {reinterpret_cast<const char*>(header.bytes().data()), header.bytes().size()};
}

std::string framed(std::string_view message) {
    return header_text(message.size()) + std::string(message);
}

/// Feeds a handshake; returns what it sends then.
std::string feed(Handshake& handshake, std::string_view bytes) {
    while (!bytes.empty()) {
        const auto room = handshake.room();
        const std::size_t count = std::min(room.size(), bytes.size());
        if (count == 0) break;
        std::memcpy(room.data(), bytes.data(), count);
        handshake.received(count);
        bytes.remove_prefix(count);
    }
    return handshake.take_output();
}

bool is_in_use(const std::system_error& error) {
    return error.code() == std::errc::address_in_use;
}

bool has_ipv6() {
    try {
        return !Listener("[::1]:0").closed();
    } catch (const std::system_error&) {
        return false;
    }
}

/// Addresses of every kind, but for IPv6, which Python's Listener and Client do not know.
struct Addresses {
    prong::test::TempDir folder;
    std::vector<std::string> all{"127.0.0.1:0", "localhost:0", folder.path() / "socket",
                                 "@prong-test-" + std::to_string(getpid())};
};

} // namespace

TEST_CASE("values and bytes pass between Listener and Client at addresses of every kind") {
    Addresses addresses;
    if (has_ipv6()) addresses.all.emplace_back("[::1]:0");
    for (const std::string& address : addresses.all) {
        for (const std::string& authkey : {std::string(), key}) {
            CAPTURE(address, authkey);
            Listener listener(address, authkey);
            auto client = std::async([&] { return Client(listener.address(), authkey); });
            Connection ours = listener.accept();
            Connection theirs = client.get();
            ours.send(std::vector{1, 2, 3});
            theirs.send_bytes("text");
            theirs.send_bytes("");
            CHECK(theirs.recv<std::vector<int>>() == std::vector{1, 2, 3});
            CHECK(text_of(ours.recv_bytes()) == "text");
            CHECK(ours.recv_bytes().empty());
            listener.close();
            ours.close();
            CHECK_THROWS_AS(theirs.recv<int>(), EndOfFile);
        }
    }
}

TEST_CASE("address() is what a client can connect to") {
    const auto is_local = [](const std::string& address) {
        return address.starts_with("127.0.0.1:") && !address.ends_with(":0");
    };
    CHECK(is_local(Listener("127.0.0.1:0").address()));
    CHECK(is_local(Listener("localhost:0").address()));
    const Listener everywhere(":0");
    CHECK(everywhere.address().starts_with("0.0.0.0:"));
    const std::string port = everywhere.address().substr(everywhere.address().rfind(':'));
    CHECK_THROWS_MATCHES(Listener("127.0.0.1" + port), std::system_error,
                         Catch::Predicate<std::system_error>(is_in_use));
    CHECK(Listener("@prong-name").address() == "@prong-name");
}

TEST_CASE("what is no address is refused in words") {
    for (const std::string text :
         {"", "@", "localhost", "localhost:", "localhost:http", "localhost:-1", "localhost:65536",
          "localhost:000000", "::1:80", ":", "[::1]"}) {
        CAPTURE(text);
        CHECK_THROWS_AS(Listener(text), std::invalid_argument);
        CHECK_THROWS_AS(Client(text), std::invalid_argument);
    }
    CHECK_THROWS_WITH(Listener("/" + std::string(107, 'x')), Contains("longer than the 107"));
    CHECK_THROWS_AS(Listener(std::string("/a\0b", 4)), std::invalid_argument);
    CHECK_THROWS_AS(Listener("no.such.host.invalid:80"), prong::Error);
}

// ---- Python -------------------------------------------------------------------------------------

TEST_CASE("a Python client talks to a Listener") {
    const Addresses addresses;
    for (const std::string& address : addresses.all) {
        for (const std::string& authkey : {std::string(), key}) {
            CAPTURE(address, authkey);
            Listener listener(address, authkey);
            Python python("peer.py", {"call", listener.address(), authkey});
            serve(listener.accept());
            CHECK(python.line() == "ok");
        }
    }
}

TEST_CASE("a Client talks to a Python listener") {
    Addresses addresses;
    addresses.all.erase(addresses.all.begin() + 3); // Python prints that address in another way
    for (const std::string& address : addresses.all) {
        for (const std::string& authkey : {std::string(), key}) {
            CAPTURE(address, authkey);
            Python python("peer.py", {"echo", address, authkey});
            Connection connection = Client(python.line(), authkey);
            for (const std::size_t size : {0U, 1U, 16383U, 16384U, 16385U, 1U << 20}) {
                std::vector<std::byte> message(size, std::byte{7});
                std::thread sender([&] { connection.send_bytes(message); });
                const bool is_same = connection.recv_bytes() == message;
                sender.join();
                CHECK(is_same);
            }
            connection.close();
            CHECK(python.line() == "ok");
        }
    }
}

TEST_CASE("peers whose challenges and replies name a digest get in") {
    for (const std::string digest :
         {"md5", "sha256", "sha384", "sha3_256", "sha3_384", "md5-reply"}) {
        CAPTURE(digest);
        Listener listener("127.0.0.1:0", key);
        Python caller("modern_peer.py", {"call", digest, key, listener.address()});
        Connection accepted = listener.accept();
        accepted.send_bytes(accepted.recv_bytes());
        CHECK(caller.line() == "ok");

        Python server("modern_peer.py", {"echo", digest, key});
        Connection connection = Client(server.line(), key);
        connection.send_bytes("hello");
        CHECK(text_of(connection.recv_bytes()) == "hello");
        CHECK(server.line() == "ok");
    }
}

TEST_CASE("a wrong key is refused by either side, and accept goes on with the next client") {
    for (const std::string script : {"peer.py", "modern_peer.py"}) {
        CAPTURE(script);
        const bool is_modern = script == "modern_peer.py";
        const auto call = [&](const std::string& address, const std::string& authkey) {
            return is_modern ? std::vector<std::string>{"call", "sha256", authkey, address}
                             : std::vector<std::string>{"call", address, authkey};
        };
        Listener listener("127.0.0.1:0", key);
        std::thread server([&] { serve(listener.accept()); });
        Python bad(script, call(listener.address(), "another"));
        CHECK(bad.line() == "refused");
        CHECK_THROWS_AS(Client(listener.address(), "another"), AuthenticationError);
        Python good(script, call(listener.address(), key));
        CHECK(good.line() == "ok");
        server.join();

        Python refusing(script, is_modern
                                    ? std::vector<std::string>{"echo", "sha256", "another"}
                                    : std::vector<std::string>{"echo", "127.0.0.1:0", "another"});
        CHECK_THROWS_AS(Client(refusing.line(), key), AuthenticationError);
        CHECK(refusing.line() == "refused");
    }
}

// ---- clients that misbehave ---------------------------------------------------------------------

TEST_CASE("clients that are silent, talk rubbish or vanish neither get in nor delay others") {
    Listener listener("127.0.0.1:0", key);
    const std::string address = listener.address();
    std::vector<Connection> clients;
    const auto next = [&]() -> Connection& { return clients.emplace_back(raw_client(address)); };
    next();                                                   // silent
    write_raw(next(), "GET / HTTP/1.1\r\nHost: you\r\n\r\n"); // whose length is 1195725856
    write_raw(next(), std::string(4, '\xff') + std::string(8, '\x7f')); // a huge length
    write_raw(next(), framed(std::string(257, 'x')));
    write_raw(next(), std::string(1 << 16, '\0')); // empty messages
    next().send_bytes("#WELCOME#");
    next().send_bytes("#CHALLENGE#{sha256}" + std::string(40, 'x'));
    next().send_bytes("{sha1}" + std::string(20, 'x'));
    next().send_bytes("{sha256}");
    next().send_bytes("{");
    next().send_bytes(std::string(16, 'x'));
    next().send_bytes(std::string(256, '{'));
    next().close();
    shutdown(next().fileno(), SHUT_WR);
    auto good = std::async([&] { return Client(address, key); });
    Connection ours = listener.accept();
    Connection theirs = good.get();
    ours.send(1);
    CHECK(theirs.recv<int>() == 1);
    // All but the first, the silent one, are disconnected.
    auto server = std::async([&] { return listener.accept(); });
    for (std::size_t i = 1; i < clients.size(); ++i) {
        CAPTURE(i);
        if (!clients[i].closed()) CHECK(is_disconnected(clients[i]));
    }
    static_cast<void>(Client(address, key));
    static_cast<void>(server.get());
}

TEST_CASE("a client that closes after any byte of the handshake harms nobody") {
    Listener listener("127.0.0.1:0", key);
    constexpr std::size_t reply = 4 + 8 + 32;
    constexpr std::size_t challenge = 4 + 11 + 48;
    constexpr std::size_t verdict = 4 + 9;
    constexpr std::size_t all = reply + challenge + verdict;
    auto clients = std::async([&] {
        for (std::size_t most = 0; most < all; ++most) {
            if (shake_hands_slowly(raw_client(listener.address()), most) != most) return most;
        }
        Connection last = raw_client(listener.address());
        const std::size_t sent = shake_hands_slowly(last, all + 1);
        last.send(7);
        return sent;
    });
    Connection connection = listener.accept();
    CHECK(clients.get() == all);
    CHECK(connection.recv<int>() == 7);
}

TEST_CASE("a client that sends its handshake byte by byte gets in, and loses no byte after it") {
    Listener listener("127.0.0.1:0", key);
    std::thread client([&] {
        Connection connection = raw_client(listener.address());
        shake_hands_slowly(connection, 1000);
        connection.send(7);
    });
    Connection connection = listener.accept();
    client.join();
    CHECK(connection.recv<int>() == 7);
}

TEST_CASE("a client that is silent for too long is disconnected, while accept waits for another") {
    Acceptor acceptor("127.0.0.1:0", key, {.handshake = 50ms, .most_clients = 100});
    Connection silent = raw_client(acceptor.address());
    auto server = std::async([&] { return static_cast<bool>(acceptor.accept(Deadline::never())); });
    CHECK(is_disconnected(silent));
    const auto gets_in = [&] {
        try {
            Client(acceptor.address(), key).close();
            return true;
        } catch (const EndOfFile&) { // a busy machine may need more than 50 ms
            return false;
        }
    };
    while (!gets_in()) {
    }
    CHECK(server.get());
}

TEST_CASE("a flood of silent clients keeps nobody out") {
    Acceptor acceptor("127.0.0.1:0", key, {.handshake = std::nullopt, .most_clients = 2});
    std::vector<Connection> silent;
    for (int i = 0; i < 20; ++i) silent.push_back(raw_client(acceptor.address()));
    auto good = std::async([&] { return Client(acceptor.address(), key); });
    CHECK(acceptor.accept(Deadline::never()));
    static_cast<void>(good.get());
    for (std::size_t i = 0; i + 2 < silent.size(); ++i) CHECK(is_disconnected(silent[i]));
}

TEST_CASE("a listener that misbehaves ends the Client with an error") {
    Listener listener("127.0.0.1:0"); // without a key: it makes no handshake
    const auto client = [&](const std::string& bytes) {
        auto ended = std::async([&] { Client(listener.address(), key); });
        const Connection connection = listener.accept();
        write_raw(connection, bytes);
        shutdown(connection.fileno(), SHUT_WR);
        ended.get();
    };
    const std::string word = "#CHALLENGE#";
    CHECK_THROWS_AS(client(""), EndOfFile);
    CHECK_THROWS_AS(client("\0\0"), EndOfFile);
    CHECK_THROWS_AS(client(framed(word + std::string(40, 'x')).substr(0, 50)), EndOfFile);
    CHECK_THROWS_AS(client(framed(word + std::string(20, 'x'))), EndOfFile); // answered, as of 3.11
    CHECK_THROWS_AS(client(framed(word + std::string(20, 'x')) + framed("#WELCOME#")), EndOfFile);
    CHECK_THROWS_AS(client(framed(word + std::string(20, 'x')) + framed("#FAILURE#")),
                    AuthenticationError);
    CHECK_THROWS_WITH(client(framed(word + std::string(19, 'x'))), Contains("too short: 19"));
    CHECK_THROWS_WITH(client(framed(word)), Contains("too short: 0"));
    CHECK_THROWS_WITH(client(framed(word + std::string(40, 'x'))), Contains("no digest"));
    CHECK_THROWS_WITH(client(framed(word + "{sha1}" + std::string(40, 'x'))),
                      Contains("no digest"));
    CHECK_THROWS_WITH(client(framed("hello")), Contains("no challenge"));
    CHECK_THROWS_WITH(client(framed("")), Contains("no challenge"));
    CHECK_THROWS_WITH(client("HTTP/1.1 400 Bad Request\r\n\r\n"), Contains("handshake"));
    CHECK_THROWS_AS(client(framed(word + std::string(20, 'x')) + framed("#WELCOME#") +
                           framed(std::string(16, 'x'))),
                    AuthenticationError);
}

TEST_CASE("a Client waits for the listener as long as it is told to") {
    const Addresses addresses;
    for (const std::string& address : addresses.all) {
        CAPTURE(address);
        const Listener listener(address, key);
        CHECK_THROWS_AS(Client(listener.address(), key, 1ms), prong::TimeoutError);
    }
    const prong::test::TempDir folder;
    CHECK_THROWS_AS(Client(folder.path() / "nothing"), std::system_error);
    CHECK_THROWS_AS(Client("@prong-nothing", key), std::system_error);
}

TEST_CASE("a Client whose listener ends does not wait for ever") {
    std::optional<Listener> listener(std::in_place, "127.0.0.1:0", key);
    SECTION("before it has accepted") {
        auto client = std::async([&, address = listener->address()] { Client(address, key); });
        REQUIRE_FALSE(prong::wait({*listener}).empty());
        listener.reset();
        CHECK_THROWS(client.get());
    }
    SECTION("in the handshake") {
        const auto ends = [&] {
            listener.emplace("127.0.0.1:0", key);
            auto client = std::async([address = listener->address()] { Client(address, key); });
            REQUIRE_FALSE(prong::wait({*listener}).empty());
            static_cast<void>(listener->accept_for(0s));
            listener.reset();
            try {
                client.get();
                return false;
            } catch (const std::exception&) {
                return true;
            }
        };
        while (!ends()) { // until one client is not fast enough for the whole handshake
        }
    }
}

// ---- the handshake itself -----------------------------------------------------------------------

TEST_CASE("two sides with the same key finish, with different keys both fail") {
    for (const std::string& other : {key, std::string("another"), std::string(1000, 'x')}) {
        Handshake listener(Side::listener, key);
        Handshake client(Side::client, other);
        std::string to_client = listener.take_output();
        for (int i = 0; i < 4; ++i) to_client = feed(listener, feed(client, to_client));
        CHECK(listener.finished() == (other == key));
        CHECK(client.finished() == (other == key));
        CHECK(listener.failed() == (other != key));
        CHECK(client.failed() == (other != key));
    }
    CHECK(Handshake(Side::listener, "").finished());
    CHECK(Handshake(Side::client, "").finished());
}

TEST_CASE("without the key a listener answers no challenge, not even its own") {
    Handshake first(Side::listener, key);
    Handshake second(Side::listener, key);
    const std::string challenge = first.take_output();
    SECTION("sent back to it") {
        CHECK(feed(first, challenge) == framed("#FAILURE#"));
        CHECK(first.failed());
    }
    SECTION("sent to it on another connection") {
        static_cast<void>(second.take_output());
        CHECK(feed(second, challenge) == framed("#FAILURE#"));
        CHECK(second.failed());
    }
    SECTION("answered by the reply to another challenge") {
        Handshake client(Side::client, key);
        const std::string reply = feed(client, second.take_output());
        CHECK(feed(first, reply) == framed("#FAILURE#"));
        CHECK(first.failed());
    }
}

TEST_CASE("a challenge is never the same") {
    CHECK(Handshake(Side::listener, key).take_output() !=
          Handshake(Side::listener, key).take_output());
}

TEST_CASE("codes are those of RFC 2104") {
    const auto in_hex = [](const std::string& code) {
        std::string text;
        for (const char byte : code) {
            std::array<char, 3> digits{};
            std::snprintf(digits.data(), digits.size(), "%02x", static_cast<unsigned char>(byte));
            text += digits.data();
        }
        return text;
    };
    const auto code = prong::ipc::hmac("md5", "Jefe", "what do ya want for nothing?");
    CHECK(in_hex(code.value()) == "750c783e6ab0b503eaa86e310a5db738");
    CHECK_FALSE(prong::ipc::hmac("sha1", "key", "text"));
    CHECK(prong::ipc::equal_codes("abc", "abc"));
    CHECK_FALSE(prong::ipc::equal_codes("abc", "abd"));
    CHECK_FALSE(prong::ipc::equal_codes("abc", "ab"));
}

TEST_CASE("the header of a message has 4 bytes, or 12") {
    using namespace std::string_literals;
    CHECK(header_text(0) == "\0\0\0\0"s);
    CHECK(header_text(0x01020304) == "\1\2\3\4");
    CHECK(header_text(0x7fffffff) == "\x7f\xff\xff\xff");
    CHECK(header_text(0x80000000) == "\xff\xff\xff\xff\0\0\0\0\x80\0\0\0"s);
}

// ---- accept -------------------------------------------------------------------------------------

TEST_CASE("accept_for returns nothing when its time is over") {
    for (const std::string& authkey : {std::string(), key}) {
        Listener listener("127.0.0.1:0", authkey);
        CHECK_FALSE(listener.accept_for(0s));
        CHECK_FALSE(listener.accept_for(1ms));
        CHECK(prong::wait({listener}, 0s).empty());
        auto client = std::async([&] { return Client(listener.address(), authkey); });
        CHECK(listener.accept_for(std::nullopt));
        static_cast<void>(client.get());
    }
}

TEST_CASE("an event loop can accept when the listener's descriptor is readable") {
    Listener listener("127.0.0.1:0", key);
    const Connection silent = raw_client(listener.address());
    auto client = std::async([&] { return Client(listener.address(), key); });
    std::optional<Connection> accepted;
    while (!accepted) {
        REQUIRE(prong::wait({listener}) == std::vector<std::size_t>{0});
        accepted = listener.accept_for(0s);
    }
    static_cast<void>(client.get());
}

TEST_CASE("many clients and many threads that accept meet") {
    Listener listener("127.0.0.1:0", key);
    constexpr int count = 40;
    std::atomic<int> sum = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < count / 4; ++k) sum += listener.accept().recv<int>();
        });
    }
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&, i] { Client(listener.address(), key).send(i); });
    for (std::thread& thread : threads) thread.join();
    CHECK(sum == count * (count - 1) / 2);
}

TEST_CASE("a closed listener refuses everything") {
    Listener listener("127.0.0.1:0");
    const std::string address = listener.address();
    Connection waiting = Client(address);
    Listener moved(std::move(listener));
    CHECK(listener.closed()); // NOLINT: that is the test
    CHECK_FALSE(moved.closed());
    moved.close();
    moved.close();
    CHECK(moved.closed());
    CHECK_THROWS_AS(moved.accept(), std::logic_error);
    CHECK_THROWS_AS(moved.accept_for(0s), std::logic_error);
    CHECK_THROWS_AS((void)moved.address(), std::logic_error);
    CHECK_THROWS_AS((void)moved.fileno(), std::logic_error);
    CHECK_THROWS_AS(prong::wait({moved}), std::logic_error);
    CHECK_THROWS_AS(Client(address), std::system_error);
    CHECK_THROWS_AS(waiting.recv<int>(), EndOfFile);
}

TEST_CASE("descriptors are closed by exec and are none of the standard ones") {
    const auto result = prong::test::run_in_child([] {
        for (const int fd : {0, 1, 2}) close(fd);
        Listener listener("127.0.0.1:0", key);
        auto client = std::async([&] { return Client(listener.address(), key); });
        const Connection accepted = listener.accept();
        const Connection connected = client.get();
        for (const int fd : {listener.fileno(), accepted.fileno(), connected.fileno()}) {
            if (fd < 3 || (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) return 1;
        }
        return 0;
    });
    CHECK(result.exitcode == 0);
}

TEST_CASE("sending to a peer that is gone is no signal") {
    Listener listener("127.0.0.1:0");
    Connection connection = Client(listener.address());
    listener.accept().close();
    CHECK_THROWS_AS(
        [&] {
            for (;;) connection.send(std::string(1000, 'x'));
        }(),
        std::system_error);
}

// ---- messages over a network --------------------------------------------------------------------

TEST_CASE("a peer that sends no messages ends the connection") {
    Listener listener("127.0.0.1:0");
    Connection ours = Client(listener.address());
    Connection theirs = listener.accept();
    write_raw(ours, "\xff\xff\xff\xfe and more");
    CHECK_THROWS_AS(theirs.recv_bytes(), prong::CodecError);
    CHECK_THROWS_AS(theirs.recv_bytes(), EndOfFile);
    CHECK_THROWS_AS(theirs.send(1), std::system_error);
    CHECK_THROWS_AS(ours.recv_bytes(), EndOfFile);
}

// ---- processes ----------------------------------------------------------------------------------

TEST_CASE("a child accepts with the listener of its parent, which goes on as well") {
    for (const std::string& authkey : {std::string(), key}) {
        CAPTURE(authkey);
        Listener listener("127.0.0.1:0", authkey);
        Connection silent = raw_client(listener.address()); // begun in the parent
        if (!authkey.empty()) CHECK_FALSE(listener.accept_for(0s));
        Process child([&] { listener.accept().send(getpid()); });
        child.start();
        if (authkey.empty()) {
            CHECK(silent.recv<int>() == child.pid());
        } else {
            CHECK(Client(listener.address(), authkey).recv<int>() == child.pid());
        }
        child.join();
        CHECK(child.exitcode() == 0);
        auto client = std::async([&] { return Client(listener.address(), authkey); });
        CHECK_NOTHROW(listener.accept());
        static_cast<void>(client.get());
    }
}

TEST_CASE("a listener that is moved into a process belongs to it") {
    const prong::test::TempDir folder;
    const std::string path = folder.path() / "socket";
    Process child(
        [](Listener listener) {
            for (int i = 0; i < 2; ++i) listener.accept().send(getpid());
        },
        Listener(path, key));
    child.start();
    for (int i = 0; i < 2; ++i) CHECK(Client(path, key).recv<int>() == child.pid());
    child.join();
    CHECK(child.exitcode() == 0);
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("an accepted connection can be served by a process") {
    Listener listener("127.0.0.1:0", key);
    std::vector<Process> servers;
    for (int i = 0; i < 3; ++i) {
        auto client = std::async([&] { return Client(listener.address(), key); });
        servers.emplace_back(serve, listener.accept());
        servers.back().start();
        Connection connection = client.get();
        connection.send(i);
        CHECK(connection.recv<int>() == i);
        servers.back().terminate();
        CHECK_THROWS_AS(connection.recv<int>(), EndOfFile); // no other process has a copy
    }
}

TEST_CASE("workers of a pool do not keep a listener's port") {
    Listener listener("127.0.0.1:0", key);
    const std::string address = listener.address();
    prong::ProcessPoolExecutor pool(1);
    pool.submit([] {}).get();
    listener.close();
    CHECK_THROWS_AS(Client(address, key), std::system_error);
    CHECK_NOTHROW(Listener(address));
}

TEST_CASE("the file of a local socket goes with its listener") {
    const prong::test::TempDir folder;
    const std::string path = folder.path() / "socket";
    SECTION("at its end") {
        Listener(path).close();
        CHECK_FALSE(std::filesystem::exists(path));
    }
    SECTION("not at the end of a child") {
        const Listener listener(path);
        Process child([&] {});
        child.start();
        child.join();
        CHECK_NOTHROW(Client(path));
    }
    SECTION("unless it is another file by now") {
        Listener first(path);
        unlink(path.c_str());
        const Listener second(path);
        first.close();
        CHECK_NOTHROW(Client(path));
    }
    SECTION("and has the permissions that the umask leaves") {
        const mode_t before = umask(0077);
        const Listener listener(path);
        umask(before);
        struct stat status {};
        REQUIRE(stat(path.c_str(), &status) == 0);
        CHECK((status.st_mode & 0777) == 0700);
    }
}

TEST_CASE("a listener replaces the file of one that was killed, and nothing else") {
    const prong::test::TempDir folder;
    const std::string path = folder.path() / "socket";
    const auto fails = [&] {
        CHECK_THROWS_MATCHES(Listener(path), std::system_error,
                             Catch::Predicate<std::system_error>(is_in_use));
        return std::filesystem::exists(path);
    };
    SECTION("killed") {
        Process child([&] {
            const Listener listener(path);
            raise(SIGKILL);
        });
        child.start();
        child.join();
        REQUIRE(std::filesystem::exists(path));
        const Listener listener(path);
        CHECK_NOTHROW(Client(path));
    }
    SECTION("alive") {
        Listener listener(path);
        CHECK(fails());
        CHECK_FALSE(listener.accept_for(0s)); // nor has it been disturbed
        CHECK_NOTHROW(Client(path));
    }
    SECTION("a plain file") {
        CHECK(close(open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
        CHECK(fails());
    }
}

TEST_CASE("of listeners that start at once, one replaces the file that was left behind") {
    const prong::test::TempDir folder;
    const std::string path = folder.path() / "socket";
    for (int round = prong::test::how_often(50, 2000); round > 0; --round) {
        const auto child = fork();
        if (child == 0) {
            const Listener listener(path);
            _exit(0);
        }
        REQUIRE(waitpid(child, nullptr, 0) == child);
        REQUIRE(std::filesystem::exists(path));
        std::latch start(3);
        std::vector<std::future<std::optional<Listener>>> starting;
        for (int i = 0; i < 3; ++i) {
            starting.push_back(std::async(std::launch::async, [&]() -> std::optional<Listener> {
                start.arrive_and_wait();
                try {
                    return Listener(path);
                } catch (const std::system_error&) {
                    return std::nullopt;
                }
            }));
        }
        std::vector<Listener> started;
        for (auto& one : starting) {
            if (auto listener = one.get()) started.push_back(std::move(*listener));
        }
        REQUIRE(started.size() == 1);
        Connection client = Client(path);
        started.front().accept().send(1);
        REQUIRE(client.recv<int>() == 1);
    }
}

// ---- the key of a family ------------------------------------------------------------------------

TEST_CASE("a family shares an authkey") {
    const std::string shared = prong::current_process().authkey();
    CHECK(shared.size() == 32);
    CHECK(prong::current_process().authkey() == shared);
    auto [ours, theirs] = prong::Pipe();
    Process child([&] {
        theirs.send(prong::current_process().authkey());
        Process grandchild([&] { theirs.send(prong::parent_process()->authkey()); });
        grandchild.start();
        grandchild.join();
    });
    CHECK(child.authkey() == shared);
    child.start();
    CHECK(ours.recv<std::string>() == shared);
    CHECK(ours.recv<std::string>() == shared);
    prong::ProcessPoolExecutor pool(1);
    CHECK(pool.submit([] { return prong::current_process().authkey(); }).get() == shared);
}

TEST_CASE("a pool that is the first to need the authkey shares it") {
    const auto result = prong::test::run_in_child([] {
        prong::ProcessPoolExecutor pool(1);
        const auto theirs = pool.submit([] { return prong::current_process().authkey(); }).get();
        return theirs == prong::current_process().authkey() ? 0 : 1;
    });
    CHECK(result.exitcode == 0);
}

TEST_CASE("an authkey can be set for this process and for one that is to start") {
    const auto result = prong::test::run_in_child([] {
        const auto key_in = [](Process& process, Connection& ours) {
            process.start();
            const auto found = ours.recv<std::string>();
            process.join();
            return found;
        };
        auto [ours, theirs] = prong::Pipe();
        const auto tell = [&] { theirs.send(prong::current_process().authkey()); };
        Process before(tell);
        prong::current_process().set_authkey("changed");
        Process after(tell);
        Process other(tell);
        other.set_authkey("other");
        if (before.authkey() == "changed") return 1;
        if (key_in(after, ours) != "changed") return 2;
        if (key_in(other, ours) != "other") return 3;
        if (key_in(before, ours) != before.authkey()) return 4;
        try {
            other.set_authkey("late");
            return 5;
        } catch (const std::logic_error&) {
        }
        return prong::current_process().authkey() == "changed" ? 0 : 6;
    });
    INFO(result.err);
    CHECK(result.exitcode == 0);
}
