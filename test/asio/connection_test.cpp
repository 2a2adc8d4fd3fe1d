// Messages in the loops of Asio.

#include "asio/basics.hpp"
#include "proc/helpers.hpp"
#include "support/check_child.hpp"
#include "support/eventually.hpp"

#include <prong/listener.hpp>
#include <prong/pipe.hpp>
#include <prong/process.hpp>
#include <prong/shared_buffer.hpp>

#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/deferred.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using namespace boost::asio::experimental::awaitable_operators;
using net::cancellation_type;
using prong::CodecError;
using prong::Connection;
using prong::EndOfFile;
using prong::Listener;
using prong::Pipe;
using prong::Process;

namespace {

using Bytes = std::vector<std::byte>;

constexpr std::size_t large = std::size_t{64} << 20;

/// What an operation has ended with.
struct End {
    int calls = 0;
    std::exception_ptr error;
    std::optional<std::string> value;

    auto handler() {
        return [this](std::exception_ptr e, std::string text = {}) {
            ++calls;
            error = std::move(e);
            value = std::move(text);
        };
    }
};

void write_raw(const Connection& connection, std::span<const std::byte> bytes) {
    REQUIRE(write(connection.fileno(), bytes.data(), bytes.size()) ==
            static_cast<ssize_t>(bytes.size()));
}

/// The frame of a message, as it lies in the stream.
Bytes frame_of(const std::string& text) {
    auto [a, b] = Pipe();
    a.send(text);
    Bytes frame(1000);
    const ssize_t size = read(b.fileno(), frame.data(), frame.size());
    frame.resize(static_cast<std::size_t>(size));
    return frame;
}

/// Sends messages until no more fit; returns how many.
int fill(Connection& connection) {
    const Bytes bytes(1000);
    int count = 0;
    net::io_context io;
    for (;; ++count) {
        bool is_sent = false;
        net::cancellation_signal signal;
        connection.async_send_bytes(
            io, bytes, net::bind_cancellation_slot(signal.slot(), [&](const std::exception_ptr& e) {
                is_sent = !e;
            }));
        io.restart();
        io.poll();
        if (is_sent) continue;
        signal.emit(cancellation_type::total);
        io.restart();
        io.poll();
        if (io.stopped()) return count; // it was cancelled; or else a part of it was sent
        FAIL("a message was sent in part");
    }
}

} // namespace

TEST_CASE("messages pass through a loop, whatever the token") {
    net::io_context io;
    auto [a, b] = Pipe();
    SECTION("callbacks") {
        End sent;
        End received;
        b.async_recv<std::string>(io, received.handler());
        io.poll();
        a.async_send(io, "text", sent.handler());
        REQUIRE((sent.calls == 0 && received.calls == 0));
        io.restart();
        io.run();
        REQUIRE((sent.calls == 1 && !sent.error));
        REQUIRE((received.calls == 1 && !received.error));
        REQUIRE(received.value == "text");
    }
    SECTION("callbacks with executors of their own") {
        End sent;
        End received;
        const auto strand = net::make_strand(io);
        a.async_send(std::string("text"), net::bind_executor(strand, sent.handler()));
        b.async_recv<std::string>(net::bind_executor(strand, received.handler()));
        io.run();
        REQUIRE(sent.calls == 1);
        REQUIRE(received.value == "text");
    }
    SECTION("use_future") {
        auto sent = a.async_send(io, std::vector{1, 2}, net::use_future);
        auto received = b.async_recv<std::vector<int>>(io, net::use_future);
        io.run();
        sent.get();
        REQUIRE(received.get() == std::vector{1, 2});
    }
    SECTION("awaitables") {
        run_in(io, [&]() -> net::awaitable<void> {
            co_await a.async_send(1);
            co_await a.async_send(io, 2);
            co_await a.async_send(3, net::use_awaitable);
            require_equal(co_await b.async_recv<int>(), 1);
            require_equal(co_await b.async_recv<int>(io), 2);
            const auto [error, value] =
                co_await b.async_recv<int>(net::experimental::as_tuple(net::use_awaitable));
            REQUIRE((!error && value == 3));
            co_await a.async_send_bytes("bytes");
            require_equal((co_await b.async_recv_bytes()).size(), 5U);
        });
    }
    SECTION("deferred") {
        const auto nothing = [](const std::exception_ptr&) {};
        a.async_send(4, net::experimental::deferred)(net::bind_executor(io, nothing));
        auto receive = b.async_recv<int>(net::experimental::deferred);
        int value = 0;
        std::move(receive)(
            net::bind_executor(io, [&](const std::exception_ptr&, int n) { value = n; }));
        io.run();
        REQUIRE(value == 4);
    }
}

TEST_CASE("thousands of messages pass between a loop and a process that blocks") {
    constexpr int count = 20'000;
    net::io_context io;
    auto [ours, theirs] = Pipe();
    Process process(
        [](Connection connection) {
            for (int i = 0; i < count; ++i) connection.send(connection.recv<int>() + 1);
        },
        std::move(theirs));
    process.start();
    int received = 0;
    const auto send = [&]() -> net::awaitable<void> {
        for (int i = 0; i < count; ++i) co_await ours.async_send(i);
    };
    const auto receive = [&]() -> net::awaitable<void> {
        for (int i = 0; i < count; ++i) received += (co_await ours.async_recv<int>()) == i + 1;
        REQUIRE_THROWS_AS(co_await ours.async_recv<int>(), EndOfFile);
    };
    run_in(io, [&]() -> net::awaitable<void> { co_await (send() && receive()); });
    REQUIRE(received == count);
}

TEST_CASE("large messages pass both ways at once, while a timer runs") {
    net::io_context io;
    auto [a, b] = Pipe();
    const Bytes one(large, std::byte{1});
    const Bytes two(large, std::byte{2});
    bool done = false;
    const auto talk = [&](Connection& end, const Bytes& ours,
                          const Bytes& theirs) -> net::awaitable<void> {
        const Bytes received = co_await (end.async_send_bytes(ours) && end.async_recv_bytes());
        REQUIRE(received == theirs);
    };
    int ticks = 0;
    const auto tick = [&]() -> net::awaitable<void> {
        net::steady_timer timer(io);
        while (!done) {
            timer.expires_after(1ms);
            co_await timer.async_wait(net::use_awaitable);
            ++ticks;
        }
    };
    net::co_spawn(io, tick, net::detached);
    run_in(io, [&]() -> net::awaitable<void> {
        co_await (talk(a, one, two) && talk(b, two, one));
        done = true;
    });
    REQUIRE(ticks > 2);
}

TEST_CASE("the end of the peer ends both directions") {
    net::io_context io;
    auto [ours, theirs] = Pipe();
    End received;
    ours.async_recv<std::string>(io, received.handler());
    SECTION("closed") {
        io.poll();
        theirs.close();
    }
    SECTION("killed") {
        Process process([](const Connection&) { sleep_for_ever(); }, std::move(theirs));
        process.start();
        io.poll();
        process.kill();
    }
    io.run();
    REQUIRE(is_a<EndOfFile>(received.error));
    End sent;
    ours.async_send(io, 1, sent.handler());
    io.restart();
    io.run();
    REQUIRE_THROWS_MATCHES(std::rethrow_exception(sent.error), std::system_error,
                           Catch::Predicate<std::system_error>([](const std::system_error& e) {
                               return e.code() == std::errc::broken_pipe;
                           }));
}

TEST_CASE("a peer that is killed in the middle of a message") {
    net::io_context io;
    auto [ours, theirs] = Pipe();
    const Bytes frame = frame_of(std::string(500, 'x'));
    const std::size_t sent = GENERATE(2U, 4U, 100U, 507U);
    Channel channel;
    Process process(
        [&](const Connection& connection) {
            if (write(connection.fileno(), frame.data(), sent) < 0) std::abort();
            report_and_sleep(channel);
        },
        std::move(theirs));
    process.start();
    (void)channel.get<char>();
    End received;
    ours.async_recv<std::string>(io, received.handler());
    io.poll();
    REQUIRE(received.calls == 0);
    process.kill();
    io.run();
    REQUIRE(is_a<EndOfFile>(received.error));
    REQUIRE_THROWS_WITH(std::rethrow_exception(received.error), Catch::Contains("in the middle"));
}

TEST_CASE("a peer that is killed while it does not read a large message") {
    net::io_context io;
    auto [ours, theirs] = Pipe();
    Process process([](const Connection&) { sleep_for_ever(); }, std::move(theirs));
    process.start();
    End sent;
    ours.async_send(io, std::string(large, 'x'), sent.handler());
    io.poll();
    REQUIRE(sent.calls == 0);
    process.kill();
    io.run();
    REQUIRE(is_a<std::system_error>(sent.error));
    REQUIRE_THROWS_AS(ours.send(1), std::system_error);
}

TEST_CASE("a cancelled async_recv leaves the part of a message to the next receiver") {
    net::io_context io;
    auto [a, b] = Pipe();
    const Bytes frame = frame_of("a whole message");
    const std::size_t first = GENERATE(0U, 2U, 4U, 5U, 15U);
    const auto type =
        GENERATE(cancellation_type::total, cancellation_type::partial, cancellation_type::terminal);
    write_raw(a, std::span(frame).first(first));
    net::cancellation_signal signal;
    End cancelled;
    b.async_recv<std::string>(io, net::bind_cancellation_slot(signal.slot(), cancelled.handler()));
    io.poll();
    REQUIRE(cancelled.calls == 0);
    signal.emit(type);
    REQUIRE(cancelled.calls == 0);
    io.run();
    REQUIRE(is_aborted(cancelled.error));
    write_raw(a, std::span(frame).subspan(first));
    a.send("the next");
    const bool by_loop = GENERATE(true, false);
    if (by_loop) {
        run_in(io, [&]() -> net::awaitable<void> {
            require_equal(co_await b.async_recv<std::string>(), "a whole message");
            require_equal(co_await b.async_recv<std::string>(), "the next");
        });
    } else {
        REQUIRE(b.recv<std::string>() == "a whole message");
        REQUIRE(b.recv<std::string>() == "the next");
    }
}

TEST_CASE("a message that has arrived stays there if async_recv is cancelled or its context ends") {
    auto [a, b] = Pipe();
    auto alive = std::make_shared<int>();
    {
        net::io_context io;
        net::cancellation_signal signal;
        bool is_cancelled = false;
        b.async_recv<int>(io, net::bind_cancellation_slot(
                                  signal.slot(), [&](const std::exception_ptr& error, int) {
                                      is_cancelled = is_aborted(error);
                                  }));
        io.poll();
        a.send(1);
        signal.emit(cancellation_type::terminal);
        io.run();
        REQUIRE(is_cancelled);
        b.async_recv<int>(io, [alive](const std::exception_ptr&, int) {});
        REQUIRE(alive.use_count() == 2);
    }
    REQUIRE(alive.use_count() == 1);
    {
        net::io_context io;
        REQUIRE(b.recv<int>() == 1);
        b.async_recv<int>(io, [alive](const std::exception_ptr&, int) {});
        io.poll();
    }
    REQUIRE(alive.use_count() == 1);
    a.send(2);
    REQUIRE(b.recv<int>() == 2);
}

TEST_CASE("a timer beside async_recv loses no message") {
    net::io_context io;
    auto [a, b] = Pipe();
    constexpr int count = 300;
    const auto send = [&]() -> net::awaitable<void> {
        for (int i = 0; i < count; ++i) {
            net::steady_timer timer(io, std::chrono::microseconds(i % 50));
            co_await timer.async_wait(net::use_awaitable);
            co_await a.async_send(i);
        }
    };
    const auto receive = [&]() -> net::awaitable<void> {
        for (int i = 0; i < count;) {
            net::steady_timer timer(io, std::chrono::microseconds(i % 40));
            const auto result =
                co_await (b.async_recv<int>() || timer.async_wait(net::use_awaitable));
            if (result.index() == 0) REQUIRE(std::get<0>(result) == i++);
        }
    };
    run_in(io, [&]() -> net::awaitable<void> { co_await (send() && receive()); });
}

TEST_CASE("a cancelled async_send has sent nothing") {
    net::io_context io;
    auto [a, b] = Pipe();
    SECTION("before the loop runs") {
        net::cancellation_signal signal;
        End end;
        a.async_send(io, 1, net::bind_cancellation_slot(signal.slot(), end.handler()));
        signal.emit(cancellation_type::total);
        io.run();
        REQUIRE(is_aborted(end.error));
        a.send(2);
        REQUIRE(b.recv<int>() == 2);
    }
    SECTION("while the buffer is full") {
        const int count = fill(a);
        REQUIRE(count > 10);
        for (int i = 0; i < count; ++i) REQUIRE(b.recv_bytes().size() == 1000);
        a.send(2);
        REQUIRE(b.recv<int>() == 2);
    }
}

TEST_CASE("the cancellation of an async_send that has sent a part") {
    net::io_context io;
    auto [a, b] = Pipe();
    const std::string text(large, 'x');
    net::cancellation_signal signal;
    End end;
    a.async_send(io, text, net::bind_cancellation_slot(signal.slot(), end.handler()));
    io.poll();
    REQUIRE(end.calls == 0);
    SECTION("has no effect if it is total or partial") {
        signal.emit(cancellation_type::total);
        signal.emit(cancellation_type::partial);
        std::string received;
        b.async_recv<std::string>(io, [&](const std::exception_ptr& error, std::string value) {
            if (!error) received = std::move(value);
        });
        io.run();
        REQUIRE((end.calls == 1 && !end.error));
        REQUIRE(received == text);
        a.send(2);
        REQUIRE(b.recv<int>() == 2);
    }
    SECTION("ends sending if it is terminal") {
        signal.emit(cancellation_type::terminal);
        io.run();
        REQUIRE(is_aborted(end.error));
        REQUIRE_THROWS_AS(b.recv<std::string>(), EndOfFile);
        REQUIRE_THROWS_AS(a.send(2), std::system_error);
        b.send(3);
        REQUIRE(a.recv<int>() == 3); // the other direction goes on
    }
}

TEST_CASE("a context that ends in the middle of a message ends sending") {
    auto [a, b] = Pipe();
    {
        net::io_context io;
        a.async_send(io, std::string(large, 'x'), [](const std::exception_ptr&) {});
        io.poll();
    }
    REQUIRE_THROWS_AS(b.recv<std::string>(), EndOfFile);
    b.send(3);
    REQUIRE(a.recv<int>() == 3);
}

TEST_CASE("one operation at a time may receive, and one may send") {
    net::io_context io;
    auto [a, b] = Pipe();
    End first;
    End second;
    SECTION("receive") {
        b.async_recv<std::string>(io, first.handler());
        b.async_recv<std::string>(io, second.handler());
        io.poll();
        a.send("text");
        io.run();
        REQUIRE(first.value == "text");
    }
    SECTION("send") {
        a.async_send(io, std::string(large, 'x'), first.handler());
        a.async_send(io, "text", second.handler());
        io.poll();
        bool is_received = false;
        b.async_recv<std::string>(
            io, [&](const std::exception_ptr& error, const std::string&) { is_received = !error; });
        io.run();
        REQUIRE(is_received);
        REQUIRE(!first.error);
    }
    REQUIRE(is_a<std::logic_error>(second.error));
    run_in(io, [&]() -> net::awaitable<void> {
        co_await a.async_send(1);
        require_equal(co_await b.async_recv<int>(), 1);
    });
}

TEST_CASE("an operation ends when its connection is closed, not when that is moved") {
    net::io_context io;
    auto [a, b] = Pipe();
    End received;
    End sent;
    std::optional<Connection> end = std::move(b);
    end->async_recv<std::string>(io, received.handler());
    end->async_send(io, std::string(large, 'x'), sent.handler());
    SECTION("closed at once") {
        end->close();
    }
    SECTION("closed later") {
        io.poll();
        end->close();
        REQUIRE((received.calls == 0 && sent.calls == 0)); // never inline
    }
    SECTION("destroyed") {
        io.poll();
        end.reset();
    }
    SECTION("moved, then closed") {
        io.poll();
        Connection other = std::move(*end);
        io.poll();
        REQUIRE((received.calls == 0 && sent.calls == 0));
        other.close();
    }
    io.restart();
    io.run();
    REQUIRE((received.calls == 1 && sent.calls == 1));
    REQUIRE(is_aborted(received.error));
    REQUIRE(is_aborted(sent.error));
    REQUIRE_THROWS_AS(a.recv<std::string>(), EndOfFile);
}

TEST_CASE("misuse of a connection throws in the call") {
    net::io_context io;
    auto [receiver, sender] = Pipe(false);
    REQUIRE_THROWS_AS(receiver.async_send(io, 1, net::use_future), std::logic_error);
    REQUIRE_THROWS_AS(sender.async_recv<int>(io, net::use_future), std::logic_error);
    sender.close();
    REQUIRE_THROWS_AS(sender.async_send(io, 1, net::use_future), std::logic_error);
}

TEST_CASE("a message of another type is the error of its async_recv alone") {
    net::io_context io;
    auto [a, b] = Pipe();
    a.send(std::string("text"));
    a.send(7);
    run_in(io, [&]() -> net::awaitable<void> {
        REQUIRE_THROWS_AS(co_await b.async_recv<int>(), CodecError);
        require_equal(co_await b.async_recv<int>(), 7);
        write_raw(a, frame_of("x"));
        const std::array<std::byte, 8> garbage{std::byte{0x90}};
        write_raw(a, garbage);
        require_equal(co_await b.async_recv<std::string>(), "x");
        REQUIRE_THROWS_AS(co_await b.async_recv<int>(), CodecError);
        REQUIRE_THROWS_AS(co_await b.async_recv<int>(), EndOfFile);
    });
}

TEST_CASE("a value without default constructor arrives as an optional") {
    net::io_context io;
    auto [a, b] = Pipe();
    run_in(io, [&]() -> net::awaitable<void> {
        co_await a.async_send(NoDefault(7));
        const std::optional<NoDefault> value = co_await b.async_recv<NoDefault>();
        REQUIRE(value.value().number == 7);
    });
}

TEST_CASE("a loop does not make a connection non-blocking") {
    net::io_context io;
    auto [a, b] = Pipe();
    b.async_recv<int>(io, [](const std::exception_ptr&, int) {});
    a.async_send(io, std::string(large, 'x'), [](const std::exception_ptr&) {});
    io.poll();
    REQUIRE((fcntl(a.fileno(), F_GETFL) & O_NONBLOCK) == 0);
    REQUIRE((fcntl(b.fileno(), F_GETFL) & O_NONBLOCK) == 0);
}

TEST_CASE("a buffer moves to the receiver") {
    net::io_context io;
    auto [a, b] = Pipe();
    run_in(io, [&]() -> net::awaitable<void> {
        prong::SharedBuffer<int> buffer(1000);
        buffer[7] = 7;
        co_await a.async_send(std::move(buffer));
        const auto received = co_await b.async_recv<prong::SharedBuffer<int>>();
        REQUIRE((received.size() == 1000 && received[7] == 7));
    });
}

TEST_CASE("a loop accepts clients of a listener") {
    net::io_context io;
    Listener listener("127.0.0.1:0", "key");
    Process process([&] {
        for (const char* key : {"wrong", "key", "key"}) {
            try {
                Connection connection = prong::Client(listener.address(), key);
                connection.send(connection.recv<int>() + 1);
            } catch (const prong::AuthenticationError&) {
            }
        }
    });
    process.start();
    int sum = 0;
    const auto serve = [&](Connection client) -> net::awaitable<void> {
        co_await client.async_send(1);
        sum += co_await client.async_recv<int>();
    };
    run_in(io, [&]() -> net::awaitable<void> {
        for (int i = 0; i < 2; ++i) co_await serve(co_await listener.async_accept());
    });
    REQUIRE(sum == 4);
}

TEST_CASE("what accepts clients ends when it is cancelled or the listener is closed") {
    net::io_context io;
    std::optional<Listener> listener(std::in_place, "127.0.0.1:0");
    net::cancellation_signal signal;
    int aborted = 0;
    const auto handler = [&](const std::exception_ptr& error, const Connection&) {
        aborted += is_aborted(error);
    };
    listener->async_accept(io, net::bind_cancellation_slot(signal.slot(), handler));
    listener->async_accept(io, handler);
    listener->async_accept(io, handler);
    io.poll();
    signal.emit(cancellation_type::total);
    io.poll();
    REQUIRE(aborted == 1);
    SECTION("closed") {
        listener->close();
    }
    SECTION("destroyed") {
        listener.reset();
    }
    SECTION("the context ends first") {
        auto other = std::make_unique<net::io_context>();
        listener->async_accept(*other, handler);
        other->poll();
        other.reset();
        listener->close();
    }
    io.run();
    REQUIRE(aborted == 3);
}

TEST_CASE("a child of the program may use a connection in a loop of its own") {
    net::io_context io;
    auto [ours, theirs] = Pipe();
    int received = 0;
    bool is_cancelled = false;
    ours.async_recv<int>(io, [&](const std::exception_ptr&, int value) { received = value; });
    theirs.async_recv<int>(
        io, [&](const std::exception_ptr& error, int) { is_cancelled = is_aborted(error); });
    io.poll();
    ours.send(1); // to the child, as the loop does not run
    check_child([&] {
        ours.close();
        net::io_context loop;
        run_in(loop, [&]() -> net::awaitable<void> {
            require(co_await theirs.async_recv<int>() == 1, "the child receives");
            co_await theirs.async_send(2);
        });
        theirs.close();
    });
    theirs.close();
    io.restart();
    io.run();
    REQUIRE(is_cancelled);
    REQUIRE(received == 2);
}
