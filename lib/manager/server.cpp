#include "manager/server.hpp"

#include "codec/exception.hpp"
#include "manager/channel.hpp"
#include "manager/greeting.hpp"
#include "os/descriptor.hpp"
#include "os/socket.hpp"

#include <prong/codec.hpp>
#include <prong/error.hpp>
#include <prong/listener.hpp>

#include <chrono>
#include <csignal>
#include <exception>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace prong::manager {
namespace {

using detail::Reader;

// A thread for each client: a call may block or take long, and must delay calls of other objects as
// little as a client that stops in the middle of a message. The kernel switches between the two;
// an event loop would need threads for the calls all the same.
[[noreturn]] void accept_clients(Objects& objects, Listener& listener) {
    for (;;) {
        try {
            Connection client = listener.accept();
            std::thread([&objects, connection = std::move(client)]() mutable {
                serve_client(objects, std::move(connection));
            }).detach();
        } catch (const std::exception&) { // no memory, descriptor or thread: others may end
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }
}

} // namespace

void serve_client(Objects& objects, Connection connection) {
    try {
        os::detect_lost_peer(connection.fileno());
        if (!receive_greeting(connection)) return;
        for (Channel channel(std::move(connection));;) {
            detail::BufferWriter reply;
            try {
                const std::vector<std::byte> request = channel.receive();
                objects.reply_to(Reader{request}, reply);
            } catch (const std::bad_alloc&) { // the request was too large
                replace_by_failure(reply);
            }
            channel.send(reply.bytes());
        }
    } catch (const std::exception&) { // its end, or no memory: this client only
    }
}

void serve(Connection creator, const detail::ManagerAddress& address) {
    std::signal(SIGINT, SIG_IGN); // Ctrl-C is for the program, which may still use the objects
    // Else a port at which the program listens would stay in use.
    const int own = creator.fileno();
    os::give_up_descriptors(os::Inherited::all_but_network, {}, {&own, 1});
    std::optional<Objects> objects;
    std::optional<Listener> listener;
    detail::BufferWriter report;
    try {
        objects.emplace();
        listener.emplace(address.address, address.authkey);
        detail::encode(report, true);
        detail::encode(report, listener->address());
    } catch (const std::exception&) {
        replace_by_failure(report);
    }
    creator.send_bytes(report.bytes());
    creator.close();
    if (listener) accept_clients(*objects, *listener);
}

std::string receive_address(Connection& server) {
    const std::vector<std::byte> report = server.recv_bytes();
    Reader reader{report};
    if (!detail::decode<bool>(reader)) std::rethrow_exception(codec::decode_exception(reader));
    return detail::decode<std::string>(reader);
}

} // namespace prong::manager
