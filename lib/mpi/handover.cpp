#include "mpi/handover.hpp"

#include "base/errno.hpp"
#include "base/file.hpp"
#include "base/hexadecimal.hpp"
#include "mpi/environment.hpp"
#include "os/descriptor.hpp"
#include "os/process.hpp"
#include "os/random.hpp"
#include "os/socket.hpp"

#include <prong/codec.hpp>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace prong::mpi {
namespace {

struct Address {
    sockaddr_un bytes{};
    socklen_t size;

    /// `name` is in the abstract name space: no file is left behind.
    explicit Address(std::string_view name) {
        bytes.sun_family = AF_UNIX;
        const std::size_t length = std::min(name.size(), sizeof(bytes.sun_path) - 1);
        std::memcpy(bytes.sun_path + 1, name.data(), length);
        size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
    }
    [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&bytes); }
};

/// Returns a socket that preserves message boundaries: what one message carries cannot end halfway.
base::UniqueFd new_socket() {
    base::UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!fd) base::throw_errno("socket");
    return fd;
}

/// Returns whether the process at the other end belongs to the same user.
bool is_own(int fd) {
    ucred peer{};
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

/// The most bytes of variables: more than a socket sends at a time.
constexpr std::size_t most_environment_bytes = 1 << 20;

} // namespace

Handover::Handover()
    : name_("prong-mpi-" + base::hexadecimal(os::random_bytes(16))), listener_(new_socket()) {
    const Address address(name_);
    if (bind(listener_.get(), address.get(), address.size) != 0) base::throw_errno("bind");
    if (listen(listener_.get(), 4) != 0) base::throw_errno("listen");
}

bool Handover::accept(detail::Deadline deadline) {
    if (!stub_) {
        if (!os::wait_readable(listener_.get(), deadline)) return false;
        base::UniqueFd stub(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!stub || !is_own(stub.get())) return false;
        stub_ = std::move(stub);
    }
    if (!os::wait_readable(stub_.get(), deadline)) return false;
    std::vector<std::byte> bytes(most_environment_bytes);
    auto message = os::try_receive_message(stub_.get(), bytes);
    if (!message) { // it has ended
        stub_.reset();
        return false;
    }
    detail::Reader reader{std::span(bytes).first(message->size)};
    set_variables(detail::decode<std::vector<std::string>>(reader));
    if (!message->fds.empty()) {
        const int pmi = os::lift(std::move(message->fds.front())).release(); // MPI's from now on
        setenv(pmi_variable, std::to_string(pmi).c_str(), 1);
    }
    listener_.reset();
    return true;
}

bool Handover::is_stub_gone() const {
    return stub_.get() >= 0 && os::wait_readable(stub_.get(), detail::Deadline::now());
}

void Handover::release(int status) noexcept {
    const auto byte = static_cast<std::byte>(status);
    if (stub_) send(stub_.get(), &byte, sizeof(byte), MSG_NOSIGNAL | MSG_DONTWAIT);
    stub_.reset();
}

int run_stub(const std::string& name) {
    if (!os::set_parent_death_signal(SIGKILL, getppid())) return 1;
    const auto give_up = [](const std::string& why) {
        os::write_to_stderr("prong: rank 0 of this job " + why + "\n");
        return 1;
    };
    base::UniqueFd relay = new_socket();
    const Address address(name);
    if (connect(relay.get(), address.get(), address.size) != 0 || !is_own(relay.get())) {
        return give_up("finds no program that has launched the job: the launcher must start rank 0 "
                       "on the machine of the program");
    }
    detail::BufferWriter writer;
    detail::encode(writer, launcher_variables());
    const auto pmi = variable(pmi_variable);
    std::vector<int> fds;
    if (pmi) fds.push_back(static_cast<int>(base::to_number(*pmi).value_or(0)));
    try {
        os::send_message(relay.get(), writer.bytes(), fds);
    } catch (const std::exception& error) {
        return give_up(std::string("cannot hand over to the program: ") + error.what());
    }
    for (const int fd : fds) close(fd);
    std::byte status{};
    if (os::receive_all(relay.get(), std::span(&status, 1)) != 1) return 1; // the program has ended
    return std::to_integer<int>(status);
}

} // namespace prong::mpi
