#include "mpi/dismissal.hpp"

#include "mpi/channel.hpp"
#include "mpi/environment.hpp"
#include "mpi/mailbox.hpp"
#include "mpi/time_limit.hpp"
#include "mpi/wire.hpp"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <new>
#include <span>
#include <thread>

namespace prong::mpi {
namespace {

using namespace std::chrono_literals;

/// How long the ranks may take: as long as one that waits for rank 0.
constexpr auto patience = 60s;

struct Joining {
    std::atomic<pid_t> relay;     ///< 0: it has not begun
    std::atomic<bool> has_joined; ///< it is rank 0 now
};

/// Shared with the relay, which is a child process; null: the ranks are not dismissed.
Joining* joining = nullptr;

/// Returns whether the relay has become rank 0. Waits for one that is about to.
bool has_joined() {
    const auto deadline = detail::Deadline::after(patience);
    while (!joining->has_joined) {
        const pid_t relay = joining->relay;
        if (relay == 0 || kill(relay, 0) != 0 || deadline.passed()) return false;
        std::this_thread::sleep_for(1ms);
    }
    return true;
}

/// The program executes itself once more: by now it may have threads, in which a fork could hang.
void dismiss_ranks(int /*status*/, void* program) {
    const auto pid = static_cast<pid_t>(reinterpret_cast<std::intptr_t>(program));
    if (getpid() != pid || has_joined()) return;
    setenv(dismissal_variable, "1", 1);
    std::array<char, 6> name{"prong"};
    const std::array<char*, 2> arguments{name.data(), nullptr};
    pid_t child = 0;
    if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments.data(), environ) != 0)
        return;
    while (waitpid(child, nullptr, 0) == -1 && errno == EINTR) {
    }
}

} // namespace

void dismiss_ranks_at_exit() {
    if (variable(program_variable)) return;
    setenv(program_variable, "1", 1);
    void* const page =
        mmap(nullptr, sizeof(Joining), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    joining = new (page) Joining{};
    on_exit(dismiss_ranks, reinterpret_cast<void*>(std::intptr_t{getpid()}));
}

void begin_joining() noexcept {
    if (joining != nullptr) joining->relay = getpid();
}

void end_joining() noexcept {
    if (joining != nullptr) joining->has_joined = true;
}

int run_dismissal() {
    unsetenv(dismissal_variable);
    const TimeLimit limit(detail::Deadline::after(patience), 1);
    Channel channel;
    static_cast<void>(channel.servers_here());
    std::deque<Outbox> peers;
    for (int rank = 1; rank < channel.size(); ++rank) {
        peers.emplace_back(channel, rank)
            .add_value(EntryKind::leave, Leave{.mode = proc::StopMode::kill});
        peers.back().flush(0, true);
    }
    const auto nowhere = [](const Channel::Incoming&) { return std::span<std::byte>(); };
    std::size_t left = 0; // each answers that it leaves
    const auto count = [&](const auto&...) { ++left; };
    while (left != peers.size()) {
        if (!channel.progress(nowhere, count)) std::this_thread::sleep_for(1ms);
    }
    channel.finish();
    return 0;
}

} // namespace prong::mpi
