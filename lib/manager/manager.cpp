#include <prong/manager.hpp>

#include "ipc/hmac.hpp"
#include "manager/client.hpp"
#include "manager/objects.hpp"
#include "manager/server.hpp"
#include "os/modules.hpp"
#include "os/random.hpp"

#include <prong/error.hpp>
#include <prong/pipe.hpp>
#include <prong/wait.hpp>

#include <stdexcept>

namespace prong {

using detail::ManagerAddress;
using detail::RemoteObject;
using manager::Directory;

namespace {

constexpr std::size_t key_bytes = 32;

ManagerAddress random_address() {
    constexpr std::size_t name_bytes = 16;
    std::string name = "@prong-manager-";
    for (const char c : os::random_bytes(name_bytes))
        name += static_cast<char>('a' + static_cast<unsigned char>(c) % 26);
    return {.address = name, .authkey = os::random_bytes(key_bytes)};
}

void require_key(const std::string& authkey) {
    if (authkey.empty()) throw std::invalid_argument("prong::Manager: the authkey is empty");
}

RemoteObject directory_of(const ManagerAddress& address) {
    return {.manager = address, .id = RemoteObject::directory};
}

} // namespace

Manager::Manager() : Manager(random_address()) {}

Manager::Manager(ManagerAddress address) : address_(std::move(address)) {
    ipc::require_hmac();
    auto [ours, theirs] = Pipe();
    process_.emplace(manager::serve, std::move(theirs), address_);
    process_->set_name("Manager");
    process_->set_daemon(true);
    process_->start();
    // Its end is seen by the sentinel: another thread may have forked a copy of the pipe's end.
    wait({ours, *process_});
    try {
        if (ours.poll()) {
            address_.address = manager::receive_address(ours);
            return;
        }
    } catch (const EndOfFile&) {
    }
    throw Error("prong::Manager: its process has died at the start");
}

Manager::Manager(ManagerAddress address, Connected) : address_(std::move(address)) {
    manager::connect(address_);
}

Manager Manager::listen(const std::string& address, const std::string& authkey) {
    require_key(authkey);
    if (os::program_build_id().empty()) {
        throw Error("prong::Manager::listen: the program has no build id, by which clients are "
                    "recognised as the same program: link it with -Wl,--build-id");
    }
    return Manager({.address = address, .authkey = authkey});
}

Manager Manager::connect(const std::string& address, const std::string& authkey) {
    require_key(authkey);
    return Manager({.address = address, .authkey = authkey}, Connected{});
}

Manager::~Manager() {
    process_.reset();
    manager::forget(address_);
}

int Manager::pid() const {
    return process_ ? process_->pid() : 0;
}

void Manager::shutdown() {
    if (!process_) {
        throw std::logic_error(
            "prong::Manager::shutdown: only the object that has started the manager can end it");
    }
    process_->kill();
    process_->join();
    manager::forget(address_);
}

void Manager::publish_object(const std::string& name, const RemoteObject& object) const {
    if (object.manager != address_)
        throw std::invalid_argument("prong::Manager::publish: an object of another manager");
    detail::call_object<Directory>(
        directory_of(address_),
        [](Directory& directory, const std::string& key, std::uint64_t id) {
            directory.insert_or_assign(key, id);
        },
        name, object.id);
}

RemoteObject Manager::find_object(const std::string& name) const {
    const auto id = detail::call_object<Directory>(
        directory_of(address_),
        [](Directory& directory, const std::string& key) {
            const auto found = directory.find(key);
            if (found == directory.end())
                throw std::out_of_range("prong::Manager::find: no object has the name " + key);
            return found->second;
        },
        name);
    return {.manager = address_, .id = id};
}

} // namespace prong
