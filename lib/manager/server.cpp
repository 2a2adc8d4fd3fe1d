#include "manager/server.hpp"

#include "codec/exception.hpp"
#include "manager/greeting.hpp"
#include "manager/message_wait.hpp"
#include "os/socket.hpp"

#include <prong/codec.hpp>
#include <prong/detail/names.hpp>
#include <prong/error.hpp>
#include <prong/listener.hpp>

#include <cxxabi.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <system_error>
#include <thread>
#include <typeinfo>
#include <utility>

namespace prong::manager {
namespace {

using detail::CodePlace;
using detail::Operation;
using detail::Reader;
using detail::Writer;

struct ServedObject {
    const std::type_info* type;
    std::shared_ptr<void> object;
    std::mutex mutex; ///< for one call at a time
};

/// The objects of the manager.
class Objects {
public:
    std::uint64_t add(const std::type_info& type, std::shared_ptr<void> object) {
        auto served = std::make_unique<ServedObject>();
        served->type = &type;
        served->object = std::move(object);
        const std::scoped_lock guard(mutex_);
        const std::uint64_t id = objects_.size() + 1;
        objects_.emplace(id, std::move(served));
        return id;
    }

    ServedObject& find(std::uint64_t id, const std::type_info& type) const {
        const std::shared_lock guard(mutex_);
        const auto found = objects_.find(id);
        if (found == objects_.end())
            throw CodecError("the manager has no object number " + std::to_string(id));
        if (*found->second->type != type) {
            throw CodecError("the manager's object is of type " +
                             detail::type_name(*found->second->type) + ", not " +
                             detail::type_name(type));
        }
        return *found->second; // never removed
    }

private:
    mutable std::shared_mutex mutex_;
    std::map<std::uint64_t, std::unique_ptr<ServedObject>> objects_;
};

const Operation& decode_operation(Reader& reader) {
    const void* const place =
        detail::at_place(detail::decode<CodePlace>(reader), sizeof(Operation));
    const auto* const operation = static_cast<const Operation*>(place);
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(place) % alignof(Operation) == 0;
    if (place == nullptr || !is_aligned || operation->mark != Operation::operation_mark) {
        throw CodecError("the manager does not know what to do: the message is corrupt, or of a "
                         "shared object that the manager's process has not loaded");
    }
    return *operation;
}

void execute(Objects& objects, Reader& request, Writer& result) {
    const Operation& operation = decode_operation(request);
    const auto id = detail::decode<std::uint64_t>(request);
    if (operation.make != nullptr) {
        detail::encode(result, objects.add(*operation.type, operation.make(request)));
    } else {
        ServedObject& served = objects.find(id, *operation.type);
        operation.call(served.object.get(), served.mutex, request, result);
    }
}

/// Appends whether the request succeeded, then its result or what it threw.
void reply_to(Objects& objects, Reader request, Writer& reply) {
    try {
        detail::encode(reply, true);
        execute(objects, request, reply);
    } catch (abi::__forced_unwind&) { // the end of this thread
        throw;
    } catch (...) {
        reply.rewind(0);
        detail::encode(reply, false);
        codec::encode_current_exception(reply);
    }
}

/// Serves one client until it closes its connection or breaks the protocol.
void serve_client(Objects& objects, Connection connection) {
    try {
        os::detect_lost_peer(connection.fileno());
        if (!receive_greeting(connection)) return;
        for (ring::Spinner spinner;;) {
            spin_for_message(connection, spinner);
            const std::vector<std::byte> request = connection.recv_bytes();
            detail::BufferWriter reply;
            reply_to(objects, Reader{request}, reply);
            connection.send_bytes(reply.bytes());
        }
    } catch (const std::exception&) { // its end, or no memory: this client only
    }
}

// A thread for each client: a call may block or take long, and must delay calls of other objects as
// little as a client that stops in the middle of a message. The kernel switches between the two;
// an event loop would need threads for the calls all the same.
void accept_clients(Objects& objects, Listener& listener) {
    for (;;) {
        try {
            Connection client = listener.accept();
            std::thread([&objects, connection = std::move(client)]() mutable {
                serve_client(objects, std::move(connection));
            }).detach();
        } catch (const std::system_error&) { // no descriptor or thread: others may end
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
    }
}

} // namespace

void serve(Connection creator, const detail::ManagerAddress& address) {
    std::signal(SIGINT, SIG_IGN); // Ctrl-C is for the program, which may still use the objects
    Objects objects;
    objects.add(typeid(Directory), std::make_shared<Directory>());
    std::optional<Listener> listener;
    detail::BufferWriter report;
    try {
        listener.emplace(address.address, address.authkey);
        detail::encode(report, true);
        detail::encode(report, listener->address());
    } catch (const std::exception&) {
        report.rewind(0);
        detail::encode(report, false);
        codec::encode_current_exception(report);
    }
    creator.send_bytes(report.bytes());
    creator.close();
    if (listener) accept_clients(objects, *listener);
}

std::string receive_address(Connection& server) {
    const std::vector<std::byte> report = server.recv_bytes();
    Reader reader{report};
    if (!detail::decode<bool>(reader)) std::rethrow_exception(codec::decode_exception(reader));
    return detail::decode<std::string>(reader);
}

} // namespace prong::manager
