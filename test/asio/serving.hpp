#pragma once

#include <prong/asio/server.hpp>
#include <prong/error.hpp>
#include <prong/this_task.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"
#include "support/processes.hpp"

#include <boost/asio.hpp>

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

/// Servers and their clients.
namespace prong::test {

namespace net = boost::asio;
using net::ip::tcp;
using prong::ServerOptions;
using prong::ServerStats;
using prong::TcpServer;
using namespace std::chrono_literals;

inline tcp::endpoint any_port() {
    return {net::ip::address_v4::loopback(), 0};
}

/// The text of an exception, behind the name of its class if that is one of prong's.
inline std::string text_of(const std::exception_ptr& error) {
    try {
        if (error) std::rethrow_exception(error);
        return "none";
    } catch (const prong::WorkerDied& died) {
        return "WorkerDied " + std::to_string(died.exitcode());
    } catch (const prong::TaskTimeout&) {
        return "TaskTimeout";
    } catch (const prong::LimitExceeded& exceeded) {
        return "LimitExceeded " + std::string(to_string(exceeded.kind()));
    } catch (const prong::BrokenProcessPool&) {
        return "BrokenProcessPool";
    } catch (const boost::system::system_error& failed) {
        return failed.code().message();
    } catch (const std::exception& other) {
        return other.what();
    }
}

/// A client that blocks.
template <typename Protocol>
class BasicClient {
public:
    explicit BasicClient(const typename Protocol::endpoint& server) : socket_(context_) {
        socket_.connect(server);
    }

    void send(const std::string& line) {
        boost::system::error_code ignored; // the server may have closed the connection
        net::write(socket_, net::buffer(line + "\n"), ignored);
    }
    /// Blocks until a line or the end of the connection has arrived; "" for the end.
    std::string receive() {
        boost::system::error_code error;
        const std::size_t size =
            net::read_until(socket_, net::dynamic_buffer(received_), '\n', error);
        if (error) return "";
        const std::string line = received_.substr(0, size - 1);
        received_.erase(0, size);
        return line;
    }
    std::string ask(const std::string& line) {
        send(line);
        return receive();
    }
    /// Returns whether something has arrived.
    bool has_answer() { return !received_.empty() || socket_.available() != 0; }

private:
    net::io_context context_;
    typename Protocol::socket socket_;
    std::string received_;
};
using Client = BasicClient<tcp>;

/// Sockets of this process that lead to another host, or could.
inline int network_sockets() {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) {
        sockaddr_storage address{};
        socklen_t length = sizeof(address);
        if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0 &&
            address.ss_family != AF_UNIX)
            ++count;
    }
    return count;
}

/// Does what the client says, line by line.
template <typename Socket>
void obey(Socket& socket) {
    std::string received;
    boost::system::error_code error;
    for (;;) {
        const std::size_t size =
            net::read_until(socket, net::dynamic_buffer(received), '\n', error);
        if (error) return;
        const std::string order = received.substr(0, size - 1);
        received.erase(0, size);
        std::string answer = order;
        if (order == "leave") return;
        if (order == "crash") std::abort();
        if (order == "exit") std::exit(3);
        if (order == "throw") throw std::runtime_error("thrown");
        if (order == "eat") {
            for (std::vector<std::vector<char>> eaten;;) eaten.emplace_back(1 << 20, 'x');
        }
        if (order == "hang") {
            for (;;) pause();
        }
        if (order == "close all") {
            for (int fd = 3; fd < 1024; ++fd) {
                if (fd != socket.native_handle()) close(fd);
            }
        }
        if (order == "await stop") {
            while (!prong::this_task::stop_requested()) std::this_thread::sleep_for(1ms);
        }
        if (order == "pid") answer = std::to_string(getpid());
        if (order == "network sockets") answer = std::to_string(network_sockets());
        net::write(socket, net::buffer(answer + "\n"), error);
        if (error) return;
    }
}

/// A server whose event loop runs in threads of its own, from the end of the constructor on.
template <typename Protocol>
class Serving {
public:
    template <typename Serve>
    Serving(const typename Protocol::endpoint& endpoint, ServerOptions options, Serve serve,
            int threads = 1)
        : server_(std::in_place, context_, endpoint, with_handler(std::move(options)), serve) {
        end_ = server_->async_run(net::use_future);
        for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { context_.run(); });
    }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    ~Serving() { server_.reset(); } // the context's work ends then

    prong::BasicServer<Protocol>& operator*() { return *server_; }
    prong::BasicServer<Protocol>* operator->() { return &*server_; }
    void destroy() { server_.reset(); }

    [[nodiscard]] BasicClient<Protocol> connect() const {
        return BasicClient<Protocol>(server_->local_endpoint());
    }

    /// Blocks until `async_run` has completed.
    std::string end() {
        try {
            end_.get();
            return "none";
        } catch (...) {
            return text_of(std::current_exception());
        }
    }
    /// Waits until the server has reported `count` errors.
    std::vector<std::string> errors(std::size_t count) {
        REQUIRE(eventually([&] {
            const std::lock_guard lock(mutex_);
            return errors_.size() >= count;
        }));
        const std::lock_guard lock(mutex_);
        return errors_;
    }
    template <typename Predicate>
    bool eventually_stats(Predicate predicate) {
        return eventually([&] { return predicate(server_->stats()); });
    }

private:
    ServerOptions with_handler(ServerOptions options) {
        options.on_error = [this](const std::exception_ptr& error) {
            const std::lock_guard lock(mutex_);
            errors_.push_back(text_of(error));
        };
        return options;
    }

    net::io_context context_;
    std::mutex mutex_;
    std::vector<std::string> errors_;
    std::optional<prong::BasicServer<Protocol>> server_;
    std::future<void> end_;
    std::vector<std::jthread> threads_;
};
using ServingTcp = Serving<tcp>;

} // namespace prong::test
