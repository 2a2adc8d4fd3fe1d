// The end of a process in the loops of Asio.

#include "asio/basics.hpp"
#include "proc/helpers.hpp"

#include <prong/process.hpp>

#include <boost/asio/experimental/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/experimental/deferred.hpp>

#include <fcntl.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <future>
#include <memory>
#include <memory_resource>
#include <optional>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using namespace boost::asio::experimental::awaitable_operators;
using boost::system::error_code;
using net::cancellation_type;
using prong::Process;

namespace {

Process started(void (*function)()) {
    Process process(function);
    process.start();
    return process;
}

void exit_3() {
    std::_Exit(3);
}

/// What a wait has ended with.
struct End {
    int calls = 0;
    error_code error;
    int exitcode = 0;

    auto handler() {
        return [this](error_code e, int code) {
            ++calls;
            error = e;
            exitcode = code;
        };
    }
};

} // namespace

TEST_CASE("a wait for a process completes with its exit code, whatever the token") {
    net::io_context io;
    Process process = started(exit_3);

    SECTION("callback") {
        End end;
        process.async_wait(io, end.handler());
        REQUIRE(end.calls == 0);
        io.run();
        REQUIRE(end.calls == 1);
        REQUIRE((!end.error && end.exitcode == 3));
    }
    SECTION("callback with an executor of its own") {
        End end;
        process.async_wait(net::bind_executor(net::make_strand(io), end.handler()));
        io.run();
        REQUIRE((!end.error && end.exitcode == 3));
    }
    SECTION("use_future") {
        std::future<int> future = process.async_wait(io.get_executor(), net::use_future);
        io.run();
        REQUIRE(future.get() == 3);
    }
    SECTION("awaitables") {
        run_in(io, [&]() -> net::awaitable<void> {
            require_equal(co_await process.async_wait(), 3);
            require_equal(co_await process.async_wait(io), 3);
            require_equal(co_await process.async_wait(net::use_awaitable), 3);
            error_code error;
            require_equal(
                co_await process.async_wait(net::redirect_error(net::use_awaitable, error)), 3);
            require_equal(
                co_await process.async_wait(net::experimental::as_tuple(net::use_awaitable)),
                std::tuple(error_code(), 3));
        });
    }
    SECTION("deferred") {
        auto wait = process.async_wait(net::experimental::deferred);
        End end;
        std::move(wait)(net::bind_executor(io, end.handler()));
        io.run();
        REQUIRE((!end.error && end.exitcode == 3));
    }
    process.join();
    REQUIRE(process.exitcode() == 3);
}

TEST_CASE("any number of waits see a process's death, and those after it") {
    net::io_context io;
    Process process = started(sleep_for_ever);
    std::vector<End> ends(20);
    for (End& end : ends) process.async_wait(io, end.handler());
    io.poll();
    for (const End& end : ends) REQUIRE(end.calls == 0);
    REQUIRE(process.is_alive());
    process.kill();
    io.run();
    for (const End& end : ends) {
        REQUIRE(end.calls == 1);
        REQUIRE((!end.error && end.exitcode == -SIGKILL));
    }
    End late;
    process.async_wait(io, late.handler());
    REQUIRE(late.calls == 0); // never inline
    io.restart();
    io.run();
    REQUIRE(late.exitcode == -SIGKILL);
    REQUIRE(process.exitcode() == -SIGKILL);
}

TEST_CASE("cancellation of any strength ends the wait, not the process") {
    net::io_context io;
    Process process = started(sleep_for_ever);
    for (const auto type :
         {cancellation_type::total, cancellation_type::partial, cancellation_type::terminal}) {
        net::cancellation_signal signal;
        End cancelled;
        End other;
        process.async_wait(io, net::bind_cancellation_slot(signal.slot(), cancelled.handler()));
        process.async_wait(io, other.handler());
        SECTION("before the loop runs") {}
        SECTION("while it waits") {
            io.poll();
        }
        signal.emit(type);
        REQUIRE(cancelled.calls == 0); // never inline
        io.restart();
        io.poll();
        REQUIRE(cancelled.calls == 1);
        REQUIRE(cancelled.error == net::error::operation_aborted);
        REQUIRE(other.calls == 0);
        signal.emit(type); // too late
        process.kill();
        io.restart();
        io.run();
        REQUIRE((cancelled.calls == 1 && other.calls == 1));
        process = started(sleep_for_ever);
    }
    process.kill();
}

TEST_CASE("a cancellation is not lost when the process has just ended") {
    net::io_context io;
    Process process = started(sleep_for_ever);
    net::cancellation_signal signal;
    End end;
    process.async_wait(io, net::bind_cancellation_slot(signal.slot(), end.handler()));
    io.poll();
    process.kill();
    process.join();
    signal.emit(cancellation_type::total);
    io.run();
    REQUIRE(end.calls == 1);
    REQUIRE(end.error == net::error::operation_aborted);
}

TEST_CASE("a timer beside the wait for a process") {
    net::io_context io;
    Process process = started(sleep_for_ever);
    run_in(io, [&]() -> net::awaitable<void> {
        net::steady_timer timer(io, 5ms);
        require_equal(
            (co_await (process.async_wait() || timer.async_wait(net::use_awaitable))).index(), 1U);
        REQUIRE(process.is_alive());
        process.kill();
        timer.expires_after(std::chrono::minutes(1));
        require_equal(
            (co_await (process.async_wait() || timer.async_wait(net::use_awaitable))).index(), 0U);
    });
}

TEST_CASE("a wait goes on when the Process is moved, destroyed or closed") {
    net::io_context io;
    End end;
    std::optional<Process> process(sleep_for_ever);
    process->set_daemon(true);
    process->start();
    process->async_wait(io, end.handler());
    io.poll();
    SECTION("moved") {
        Process other = std::move(*process);
        other.kill();
    }
    SECTION("destroyed, which kills a daemon") {
        process.reset();
    }
    SECTION("closed") {
        process->kill();
        process->join();
        process->close();
    }
    io.run();
    REQUIRE(end.calls == 1);
    REQUIRE((!end.error && end.exitcode == -SIGKILL));
}

TEST_CASE("misuse of async_wait throws in the call") {
    net::io_context io;
    Process process(sleep_for_ever);
    REQUIRE_THROWS_AS(process.async_wait(io, [](error_code, int) {}), std::logic_error);
    REQUIRE_THROWS_AS(process.async_wait(io, net::use_future), std::logic_error);
    process.start();
    process.kill();
    process.join();
    process.close();
    REQUIRE_THROWS_AS(process.async_wait(io, [](error_code, int) {}), std::logic_error);
}

TEST_CASE("the context of a wait may end first") {
    Process process = started(sleep_for_ever);
    auto alive = std::make_shared<int>(0);
    net::cancellation_signal signal;
    for (const bool runs : {false, true}) {
        net::io_context io;
        process.async_wait(
            io, net::bind_cancellation_slot(signal.slot(), [alive](error_code, int) { ++*alive; }));
        if (runs) io.poll();
        REQUIRE(alive.use_count() == 2);
    }
    REQUIRE(alive.use_count() == 1);
    REQUIRE(*alive == 0);
    signal.emit(cancellation_type::terminal);
    process.kill();
}

TEST_CASE("a wait keeps its handler's context busy, and runs the handler there") {
    net::io_context waits;
    net::io_context handles;
    Process process = started(sleep_for_ever);
    std::thread::id thread;
    process.async_wait(waits, net::bind_executor(handles, [&](error_code, int exitcode) {
                           if (exitcode == -SIGKILL) thread = std::this_thread::get_id();
                       }));
    std::thread waiter([&] { waits.run(); });
    std::thread handler([&] { handles.run(); });
    const auto expected = handler.get_id();
    process.kill();
    handler.join();
    waiter.join();
    REQUIRE(thread == expected);
}

TEST_CASE("a wait lies in its handler's allocator, and has left it when the handler runs") {
    net::io_context io;
    CountingMemory memory;
    Process process = started(exit_3);
    int in_use = -1;
    process.async_wait(io, net::bind_allocator(std::pmr::polymorphic_allocator<void>(&memory),
                                               [&](error_code, int) { in_use = memory.in_use; }));
    io.run();
    REQUIRE(memory.allocations > 0);
    REQUIRE(in_use == 0);
}

TEST_CASE("a loop does not make a process's descriptor non-blocking") {
    net::io_context io;
    Process process = started(sleep_for_ever);
    process.async_wait(io, [](error_code, int) {});
    io.poll();
    REQUIRE((fcntl(process.sentinel(), F_GETFL) & O_NONBLOCK) == 0);
    process.kill();
    io.run();
}
