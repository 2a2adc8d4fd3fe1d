#include "proc/zygote.hpp"

#include "base/errno.hpp"
#include "os/child.hpp"
#include "os/fork_depth.hpp"
#include "os/process.hpp"
#include "os/seed.hpp"
#include "os/socket.hpp"
#include "proc/inherit.hpp"
#include "proc/process_state.hpp"
#include "shm/family_memory.hpp"

#include <prong/error.hpp>
#include <prong/zygote.hpp>

#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <stdio_ext.h>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace prong::proc {
namespace {

/// Precedes the message of a request.
struct RequestHeader {
    std::uint64_t token;
    Zygote::Prepare prepare;
};

/// Accompanies the child's pidfd, or says why there is none.
struct Answer {
    pid_t pid = 0;
    int error = 0;
    std::array<char, 252> call{}; ///< the failed call; ends with a zero
};

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

/// Returns `what()` without the code's message, which the constructor of the rethrown error appends
/// again.
std::string_view call_of(const std::system_error& error, const std::string& message) {
    std::string_view text = error.what();
    const std::string appended = ": " + message;
    if (text.ends_with(appended)) text.remove_suffix(appended.size());
    return text;
}

Answer refusal(int error, std::string_view call) {
    Answer answer{.pid = 0, .error = error};
    std::copy_n(call.data(), std::min(call.size(), answer.call.size() - 1), answer.call.data());
    return answer;
}

/// The zygote's side: handles requests, and does nothing else.
class Server {
public:
    Server(base::UniqueFd socket, base::UniqueFd parent, std::uint64_t token)
        : socket_(std::move(socket)), parent_(std::move(parent)), token_(token) {}

    /// Runs until the parent has ended or called `exec`.
    void run() {
        std::array<std::byte, sizeof(RequestHeader) + Zygote::longest_message> buffer{};
        while (wait()) {
            auto request = os::receive_message(socket_.get(), buffer);
            if (!request && is_hung_up()) return;
            if (!request) continue; // an empty message
            // User code of the parent may have written to the socket's number.
            RequestHeader header{};
            if (request->size < sizeof(header)) continue;
            std::memcpy(&header, buffer.data(), sizeof(header));
            if (header.token != token_) continue;
            const auto message = std::span(buffer).first(request->size).subspan(sizeof(header));
            os::PidFd child;
            const Answer answer = fork(header.prepare, *request, message, child);
            const int fd = child.open();
            os::send_message(socket_.get(), bytes_of(answer), std::span(&fd, fd < 0 ? 0U : 1U));
        }
    }

private:
    /// Blocks until a request arrives. Returns false when the parent has ended.
    bool wait() {
        std::array<pollfd, 2> events{{{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                      {.fd = parent_.get(), .events = POLLIN, .revents = 0}}};
        base::retry_interrupted([&] { return poll(events.data(), events.size(), -1); });
        return events[1].revents == 0;
    }

    [[nodiscard]] bool is_hung_up() const {
        pollfd event{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        base::retry_interrupted([&] { return poll(&event, 1, 0); });
        return (event.revents & POLLHUP) != 0;
    }

    Answer fork(Zygote::Prepare prepare, os::Message& request, std::span<const std::byte> message,
                os::PidFd& process) {
        try {
            if (request.has_lost_fds) base::throw_errno("recvmsg", EMFILE);
            const Zygote::Child child = prepare(std::move(request.fds), message);
            os::Fork fork = os::fork_with_pidfd(os::ChildSignals::blocked);
            if (fork.pid == 0) {
                fork.process.reset();
                become(child);
            }
            process = std::move(fork.process);
            return {.pid = fork.pid};
        } catch (const std::system_error& error) {
            return refusal(error.code().value(), call_of(error, error.code().message()));
        } catch (const std::bad_alloc&) {
            return refusal(ENOMEM, "operator new");
        } catch (const std::exception& error) {
            return refusal(EINVAL, error.what());
        }
    }

    /// Keeps only the parent's pidfd of the zygote's descriptors: with the socket open, the parent
    /// would not see the zygote's end.
    [[noreturn]] void become(const Zygote::Child& child) noexcept {
        socket_.reset();
        _exit(child(std::move(parent_)));
    }

    base::UniqueFd socket_;
    base::UniqueFd parent_;
    std::uint64_t token_;
};

[[noreturn]] void become_zygote(base::UniqueFd socket, base::UniqueFd parent, std::uint64_t token,
                                os::Inherited inherited, const std::vector<int>& kept) noexcept {
    __fpurge(stdout); // the parent writes what it could not flush before the fork
    setpgid(0, 0);    // Ctrl-C in the terminal is for the parent
    prctl(PR_SET_NAME, "prong-zygote");
    // Makes the kernel reap the zygote's children, and the orphans that these leave behind.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGCHLD, SIG_IGN);
    const std::array own{socket.get(), parent.get()};
    os::give_up_descriptors(inherited, kept, own);
    try {
        Server(std::move(socket), std::move(parent), token).run();
    } catch (const std::exception&) { // the parent sees the connection end
    }
    _exit(0);
}

/// Waits a moment for threads that were joined and are still listed.
unsigned count_threads() {
    const auto limit = detail::Deadline::after(std::chrono::milliseconds(100));
    unsigned threads = os::thread_count();
    while (threads > 1 && !limit.passed()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        threads = os::thread_count();
    }
    return threads;
}

// Never destroyed: other static objects may still create pools.
constinit std::atomic<Zygote*> the_zygote{nullptr};

} // namespace

Zygote::Zygote(base::UniqueFd socket, os::PidFd process, Token token, os::LoadedModules modules)
    : fork_depth_(os::fork_depth()), modules_(std::move(modules)), process_(std::move(process)),
      token_(token), socket_(std::move(socket)) {}

Zygote* Zygote::of_this_process() noexcept {
    Zygote* const zygote = the_zygote.load(std::memory_order_acquire);
    return zygote != nullptr && zygote->fork_depth_ == os::fork_depth() ? zygote : nullptr;
}

void Zygote::start(os::Inherited inherited, const std::vector<int>& kept) {
    const Zygote* const before = of_this_process();
    if (before != nullptr && before->is_alive()) return;
    if (const unsigned threads = count_threads(); threads > 1) {
        throw std::logic_error("start_zygote() was called when the program had " +
                               std::to_string(threads) +
                               " threads: call it at the start of main, before anything starts "
                               "one");
    }
    auto [ours, theirs] = os::message_socket_pair();
    auto modules = os::LoadedModules::now();
    const Token token = os::fresh_seed();
    prepare_authkey();
    shm::FamilyMemory::prepare_fork();
    os::Fork fork = os::fork_with_pidfd(os::ChildSignals::blocked);
    if (fork.pid == 0) {
        ours.reset();
        become_zygote(std::move(theirs), fork.process.release(), token, inherited, kept);
    }
    // No other thread can use the previous zygote: this is the only one.
    delete the_zygote.exchange(
        new Zygote(std::move(ours), std::move(fork.process), token, std::move(modules)));
}

bool Zygote::is_alive() const {
    return socket_.get() >= 0 && !os::wait_for_end(process_, detail::Deadline::now());
}

os::PidFd Zygote::fork(Prepare prepare, std::span<const int> fds,
                       std::span<const std::byte> message) {
    const RequestHeader header{.token = token_, .prepare = prepare};
    std::array<std::byte, sizeof(header) + longest_message> request{};
    if (message.size() > longest_message)
        throw std::length_error("the request to the zygote is too long");
    std::memcpy(request.data(), &header, sizeof(header));
    std::ranges::copy(message, request.begin() + sizeof(header));

    const std::lock_guard lock(mutex_);
    const int socket = socket_.get();
    if (socket < 0) give_up();
    Answer answer;
    std::optional<os::Message> received;
    bool is_sent = false;
    try {
        const auto bytes = std::span(request).first(sizeof(header) + message.size());
        os::send_message(socket, bytes, fds);
        is_sent = true;
        received = os::receive_message(socket, std::as_writable_bytes(std::span(&answer, 1)));
    } catch (const std::system_error& error) {
        // If nothing was sent, the next call may succeed. If the answer was lost, later answers
        // would be taken for it.
        if (!is_sent && error.code() != std::errc::broken_pipe) throw;
    }
    if (!received) give_up();
    answer.call.back() = '\0';
    if (answer.error != 0) {
        throw std::system_error(answer.error, std::generic_category(), answer.call.data());
    }
    if (received->fds.empty()) base::throw_errno("recvmsg", EMFILE);
    return {os::lift(std::move(received->fds.front())), answer.pid};
}

void Zygote::give_up() {
    if (socket_) {
        socket_.reset();
        try {
            os::send_signal(process_, SIGKILL); // so that `reap` does not block
            os::reap(process_);
        } catch (const std::system_error&) { // this process has given up the zygote's user
        }
    }
    throw Error(
        "the zygote has exited, or this process has closed its connection to it; no pool can "
        "be created until start_zygote() is called again while the program has one thread");
}

} // namespace prong::proc

namespace prong {

void start_zygote(const Inherit& inherit) {
    const std::vector<int> kept = proc::checked_descriptors(inherit);
    proc::Zygote::start(proc::inherited_by(inherit), kept);
}

} // namespace prong
