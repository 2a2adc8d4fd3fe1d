#include <prong/pipe.hpp>
#include <prong/process.hpp>

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using prong::Connection;
using prong::EndOfFile;
using prong::Pipe;
using prong::Process;

namespace {

using Bytes = std::vector<std::byte>;

/// Cheap to make, and no two places within 16 MiB look alike.
Bytes pattern(std::size_t size) {
    Bytes bytes(size);
    std::uint32_t state = 1;
    for (std::byte& byte : bytes) {
        state = state * 1664525 + 1013904223;
        byte = static_cast<std::byte>(state >> 24);
    }
    return bytes;
}

void echo(Connection connection) {
    try {
        for (;;) connection.send_bytes(connection.recv_bytes());
    } catch (const EndOfFile&) {
    }
}

bool is_broken_pipe(const std::system_error& error) {
    return error.code() == std::errc::broken_pipe;
}

void write_raw(const Connection& connection, const void* data, std::size_t size) {
    REQUIRE(write(connection.fileno(), data, size) == static_cast<ssize_t>(size));
}

} // namespace

TEST_CASE("a pipe carries values between processes") {
    auto [ours, theirs] = Pipe();
    Process process(
        [](Connection connection) {
            const auto numbers = connection.recv<std::vector<int>>();
            std::map<std::string, double> sums;
            for (const int number : numbers) sums["sum"] += number;
            connection.send(sums);
        },
        std::move(theirs));
    process.start();
    ours.send(std::vector{1, 2, 3});
    REQUIRE(ours.recv<std::map<std::string, double>>() ==
            std::map<std::string, double>{{"sum", 6.0}});
    REQUIRE_THROWS_AS(ours.recv<int>(), EndOfFile); // the child had the other end alone
}

TEST_CASE("messages come whole and in the order in which they were sent") {
    auto [a, b] = Pipe();
    a.send(1);
    a.send_bytes("two");
    a.send(std::string("three"));
    a.send("four");
    a.send_bytes("");
    a.send(std::optional<int>());
    REQUIRE(b.recv<int>() == 1);
    REQUIRE(b.recv_bytes() == Bytes{std::byte{'t'}, std::byte{'w'}, std::byte{'o'}});
    REQUIRE(b.recv<std::string>() == "three");
    REQUIRE(b.recv<std::string>() == "four");
    REQUIRE(b.recv_bytes().empty());
    REQUIRE(b.recv<std::optional<int>>() == std::nullopt);
    b.send(5);
    REQUIRE(a.recv<int>() == 5);
}

TEST_CASE("a one-way pipe goes from the second end to the first") {
    auto [receiver, sender] = Pipe(false);
    REQUIRE((receiver.readable() && !receiver.writable()));
    REQUIRE((!sender.readable() && sender.writable()));
    sender.send(1);
    REQUIRE(receiver.poll());
    REQUIRE(receiver.recv<int>() == 1);
    REQUIRE_THROWS_AS(receiver.send(1), std::logic_error);
    REQUIRE_THROWS_AS(sender.recv<int>(), std::logic_error);
    REQUIRE_THROWS_AS(sender.recv_bytes(), std::logic_error);
    REQUIRE_THROWS_AS((void)sender.poll(), std::logic_error);
    REQUIRE_THROWS_AS(prong::wait({sender}), std::logic_error);
}

TEST_CASE("messages of any size arrive unharmed") {
    auto [ours, theirs] = Pipe();
    Process process(echo, std::move(theirs));
    process.start();
    // around the header, a page, the first step of memory and its doubling
    const std::size_t step = 1U << 20;
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, step - 1,
                                   step, step + 1, 2 * step + 1, 7 * step}) {
        CAPTURE(size);
        const Bytes sent = pattern(size);
        std::thread sender([&] { ours.send_bytes(sent); }); // more than the buffers hold
        const bool same = ours.recv_bytes() == sent;
        sender.join();
        REQUIRE(same);
    }
    ours.close();
}

TEST_CASE("a message of more than 2 GiB, whose size takes a longer header, arrives") {
    if (!prong::test::full_run()) return;
    auto [ours, theirs] = Pipe();
    constexpr std::size_t size = (std::size_t{1} << 31) + 12345;
    Process process(
        [](Connection connection) {
            Bytes bytes(size);
            bytes.front() = bytes.back() = std::byte{7};
            connection.send_bytes(bytes);
        },
        std::move(theirs));
    process.start();
    const Bytes bytes = ours.recv_bytes();
    REQUIRE(bytes.size() == size);
    REQUIRE((bytes.front() == std::byte{7} && bytes.back() == std::byte{7}));
}

TEST_CASE("what was sent is received after the sender has closed") {
    auto [a, b] = Pipe();
    a.send(1);
    a.send(2);
    a.close();
    REQUIRE(b.recv<int>() == 1);
    REQUIRE(b.recv<int>() == 2);
    REQUIRE(b.poll());
    REQUIRE_THROWS_AS(b.recv<int>(), EndOfFile);
    REQUIRE_THROWS_AS(b.recv_bytes(), EndOfFile); // and again
    REQUIRE(b.poll());
}

TEST_CASE("sending to a closed end is a broken pipe and no signal") {
    auto [a, b] = Pipe();
    SECTION("closed at once") {
        b.close();
    }
    SECTION("closed with a message that was not received") {
        a.send(1);
        b.close();
    }
    REQUIRE_THROWS_MATCHES(a.send(1), std::system_error,
                           Catch::Predicate<std::system_error>(is_broken_pipe));
    REQUIRE_THROWS_AS(a.recv<int>(), EndOfFile);
    REQUIRE_THROWS_MATCHES(a.send(1), std::system_error,
                           Catch::Predicate<std::system_error>(is_broken_pipe));
}

TEST_CASE("receiving from an end that was closed with a message unread is the end of file") {
    auto [a, b] = Pipe();
    a.send(1);
    b.send(2);
    b.close();
    REQUIRE(a.recv<int>() == 2); // what it had sent before comes first
    REQUIRE_THROWS_AS(a.recv<int>(), EndOfFile);
    REQUIRE_THROWS_AS(a.recv<int>(), EndOfFile);
}

TEST_CASE("an end that is moved into a process goes over for good") {
    auto [ours, theirs] = Pipe();
    SECTION("so both sides see the end of file") {
        Process process(echo, std::move(theirs));
        process.start();
        ours.send(1);
        REQUIRE(ours.recv<int>() == 1);
        SECTION("the parent's") {
            process.terminate();
            REQUIRE_THROWS_AS(ours.recv<int>(), EndOfFile);
        }
        SECTION("the child's") {
            ours.close();
            process.join();
            REQUIRE(process.exitcode() == 0);
        }
    }
    SECTION("unless both go to the same one") {
        Process process(
            [](Connection first, Connection second) {
                first.send(5);
                std::exit(second.recv<int>());
            },
            std::move(ours), std::move(theirs));
        process.start();
        process.join();
        REQUIRE(process.exitcode() == 5);
    }
    SECTION("and what the child has of the other end is closed") {
        Process process([&](Connection) { std::exit(ours.closed() ? 6 : 7); }, std::move(theirs));
        process.start();
        process.join();
        REQUIRE(process.exitcode() == 6);
        REQUIRE_FALSE(ours.closed());
    }
}

TEST_CASE("both ends are copied by a fork, and what is not used is to be closed") {
    auto [a, b] = Pipe();
    Process process([&] {
        a.close();
        try {
            b.recv<int>();
        } catch (const EndOfFile&) {
            std::exit(5);
        }
    });
    process.start();
    b.close();
    a.close();
    process.join();
    REQUIRE(process.exitcode() == 5);
}

TEST_CASE("the end of a killed process is the end of file") {
    auto [ours, theirs] = Pipe();
    Process process(
        [](Connection connection) {
            connection.send(1);
            for (;;) pause();
        },
        std::move(theirs));
    process.start();
    REQUIRE(ours.recv<int>() == 1);
    REQUIRE_FALSE(ours.poll());
    process.kill();
    REQUIRE_THROWS_AS(ours.recv<int>(), EndOfFile);
}

TEST_CASE("a sender that is killed in the middle of a message is an end of file that says so") {
    auto [ours, theirs] = Pipe();
    Process process([](Connection connection) { connection.send_bytes(pattern(64U << 20)); },
                    std::move(theirs));
    process.start();
    REQUIRE(ours.poll(std::nullopt)); // it has begun, and is stuck as the buffer is full
    process.kill();
    process.join();
    try {
        ours.recv_bytes();
        FAIL("a message came that was never sent");
    } catch (const EndOfFile& error) {
        INFO(error.what());
        REQUIRE(std::string(error.what()).find("in the middle of a message") != std::string::npos);
    }
    REQUIRE_THROWS_AS(ours.recv_bytes(), EndOfFile);
}

TEST_CASE("a header cut short is the end of file in the middle") {
    auto [a, b] = Pipe();
    write_raw(a, "abc", 3);
    a.close();
    REQUIRE_THROWS_WITH(b.recv_bytes(), Catch::Contains("in the middle"));
    REQUIRE_THROWS_AS(b.recv_bytes(), EndOfFile);
}

TEST_CASE("a size that a peer claims falsely is not allocated") {
    if (prong::test::address_sanitizer) return;
    const auto result = prong::test::run_in_child([] {
        const rlimit limit{.rlim_cur = 1U << 30, .rlim_max = 1U << 30};
        setrlimit(RLIMIT_DATA, &limit);
        for (const std::uint64_t size : {std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
            auto [a, b] = Pipe();
            std::array<std::uint64_t, 2> message{~std::uint64_t{0}, 5};
            const std::uint64_t announced = __builtin_bswap64(size); // big-endian
            std::memcpy(reinterpret_cast<char*>(message.data()) + 4, &announced, sizeof(size));
            if (write(a.fileno(), message.data(), sizeof(message)) != sizeof(message)) return 1;
            a.close();
            try {
                b.recv_bytes();
                return 2;
            } catch (const EndOfFile&) {
            }
        }
        return 0;
    });
    INFO(result.err);
    REQUIRE(result.exitcode == 0);
}

TEST_CASE("a message for which there is no memory is passed over") {
    if (prong::test::address_sanitizer) return;
    const auto result = prong::test::run_in_child([] {
        auto [ours, theirs] = Pipe();
        Process process(
            [](Connection connection) {
                connection.send_bytes(pattern(96U << 20));
                connection.send(7);
            },
            std::move(theirs));
        process.start();
        const rlimit limit{.rlim_cur = 64U << 20, .rlim_max = RLIM_INFINITY};
        setrlimit(RLIMIT_DATA, &limit);
        try {
            ours.recv_bytes();
            return 1;
        } catch (const std::bad_alloc&) {
        }
        return ours.recv<int>();
    });
    INFO(result.err);
    REQUIRE(result.exitcode == 7);
}

TEST_CASE("a message that is not of the type asked for is used up") {
    auto [a, b] = Pipe();
    a.send_bytes("no vector");
    a.send(std::array{1, 2});
    a.send_bytes("");
    a.send(3);
    REQUIRE_THROWS_AS(b.recv<std::vector<std::string>>(), prong::CodecError);
    REQUIRE_THROWS_AS(b.recv<int>(), prong::CodecError); // too long
    REQUIRE_THROWS_AS(b.recv<int>(), prong::CodecError); // too short
    REQUIRE(b.recv<int>() == 3);
}

TEST_CASE("poll returns whether there is something to receive") {
    auto [a, b] = Pipe();
    REQUIRE_FALSE(b.poll());
    REQUIRE_FALSE(b.poll(0s));
    REQUIRE_FALSE(b.poll(-1s));
    REQUIRE_FALSE(b.poll(1ms));
    a.send(1);
    REQUIRE(b.poll());
    REQUIRE(b.poll(std::chrono::hours::max()));
    REQUIRE(b.poll(std::nullopt));
    REQUIRE(b.recv<int>() == 1);
    REQUIRE_FALSE(b.poll());
    a.close();
    REQUIRE(b.poll(std::nullopt));
}

TEST_CASE("a closed connection refuses everything") {
    auto [a, b] = Pipe();
    REQUIRE(a.fileno() >= 0);
    REQUIRE((fcntl(a.fileno(), F_GETFD) & FD_CLOEXEC) != 0);
    a.close();
    a.close();
    REQUIRE(a.closed());
    REQUIRE_THROWS_AS(a.send(1), std::logic_error);
    REQUIRE_THROWS_AS(a.recv<int>(), std::logic_error);
    REQUIRE_THROWS_AS((void)a.poll(), std::logic_error);
    REQUIRE_THROWS_AS((void)a.fileno(), std::logic_error);
    REQUIRE_THROWS_AS(prong::wait({a}), std::logic_error);

    Connection moved(std::move(b));
    REQUIRE(b.closed()); // NOLINT: that is the test
    REQUIRE_FALSE(moved.closed());
    moved = Connection();
    REQUIRE(moved.closed());
}

TEST_CASE("a signal does not end a send or a receive") {
    auto [ours, theirs] = Pipe();
    Process process(echo, std::move(theirs));
    process.set_daemon(true); // or the destructor would wait for it, and it for our end's close
    process.start();
    const Bytes sent = pattern(16U << 20);

    struct sigaction action {};
    action.sa_handler = [](int) {};
    struct sigaction before {};
    sigaction(SIGUSR1, &action, &before); // without SA_RESTART
    const pthread_t receiver = pthread_self();
    std::atomic<bool> stop = false;
    std::thread sender([&] { ours.send_bytes(sent); });
    std::thread disturber([&] {
        while (!stop) {
            pthread_kill(receiver, SIGUSR1);
            pthread_kill(sender.native_handle(), SIGUSR1);
            std::this_thread::yield();
        }
    });
    const bool same = ours.recv_bytes() == sent;
    stop = true;
    disturber.join();
    sender.join();
    sigaction(SIGUSR1, &before, nullptr);
    REQUIRE(same);
}

TEST_CASE("a descriptor that the user made non-blocking still blocks here") {
    auto [ours, theirs] = Pipe();
    fcntl(ours.fileno(), F_SETFL, O_NONBLOCK);
    Process process(echo, std::move(theirs));
    process.set_daemon(true); // or the destructor would wait for it, and it for our end's close
    process.start();
    const Bytes sent = pattern(4U << 20);
    std::thread sender([&] { ours.send_bytes(sent); });
    const bool same = ours.recv_bytes() == sent;
    sender.join();
    REQUIRE(same);
}

TEST_CASE("wait returns all that are ready, by position") {
    auto [a, b] = Pipe();
    auto [c, d] = Pipe();
    REQUIRE(prong::wait({a, b, c, d}, 0s).empty());
    REQUIRE(prong::wait({a, b, c, d}, 1ms).empty());
    c.send(1);
    REQUIRE(prong::wait({a, b, c, d}) == std::vector<std::size_t>{3});
    a.close();
    REQUIRE(prong::wait({c, b, d}) == std::vector<std::size_t>{1, 2});
    const std::vector<prong::Waitable> those{b, c};
    REQUIRE(prong::wait(those, 0s) == std::vector<std::size_t>{0});
    REQUIRE(prong::wait({}, 0s).empty());
}

TEST_CASE("wait takes connections, processes and descriptors together") {
    auto [ours, theirs] = Pipe();
    int raw[2];
    REQUIRE(pipe2(raw, O_CLOEXEC) == 0);
    Process process([](Connection connection) { connection.recv<int>(); }, std::move(theirs));
    process.start();
    auto [quiet, other] = Pipe();
    REQUIRE(prong::wait({quiet, process, raw[0]}, 0s).empty());
    REQUIRE(write(raw[1], "x", 1) == 1);
    REQUIRE(prong::wait({quiet, process, raw[0]}) == std::vector<std::size_t>{2});
    ours.send(1);
    REQUIRE(prong::wait({quiet, process}) == std::vector<std::size_t>{1});
    process.join();
    REQUIRE(prong::wait({quiet, process}, 0s) == std::vector<std::size_t>{1});
    close(raw[0]);
    close(raw[1]);

    REQUIRE_THROWS_AS(prong::wait({-1}), std::invalid_argument);
    REQUIRE_THROWS_AS(prong::wait({raw[0]}, 0s), std::system_error);
    REQUIRE_THROWS_AS(prong::wait({Process()}), std::logic_error);
}

TEST_CASE("wait collects the answers of many writers") {
    std::vector<Connection> readers;
    std::vector<Process> writers;
    for (int i = 0; i < 4; ++i) {
        auto [receiver, sender] = Pipe(false);
        readers.push_back(std::move(receiver));
        writers.emplace_back(
            [i](Connection out) {
                for (int j = 0; j < 10; ++j) out.send(std::pair(i, j));
            },
            std::move(sender));
        writers.back().start();
    }
    std::vector<std::pair<int, int>> received;
    while (!readers.empty()) {
        const std::vector<prong::Waitable> those(readers.begin(), readers.end());
        auto ready = prong::wait(those);
        std::ranges::reverse(ready);
        for (const std::size_t position : ready) {
            try {
                received.push_back(readers[position].recv<std::pair<int, int>>());
            } catch (const EndOfFile&) {
                readers.erase(readers.begin() + static_cast<std::ptrdiff_t>(position));
            }
        }
    }
    std::ranges::sort(received);
    REQUIRE(received.size() == 40);
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 10; ++j) {
            REQUIRE(received[static_cast<std::size_t>(i * 10 + j)] == std::pair(i, j));
        }
    }
}
