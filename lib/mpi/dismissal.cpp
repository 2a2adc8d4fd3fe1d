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

/// Shared with the relay, which is a child process; null: the ranks are not dismissed.
RankZero* rank_zero = nullptr;

/// The program executes itself once more: by now it may have threads, in which a fork could hang.
void dismiss_ranks(int /*status*/, void* program) {
    const auto pid = static_cast<pid_t>(reinterpret_cast<std::intptr_t>(program));
    if (getpid() != pid || !rank_zero->begin_dismissal(detail::Deadline::after(patience))) return;
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

bool RankZero::begin_joining() noexcept {
    pid_t state = state_; // perhaps an earlier relay, which has died
    while (state != dismissed && state != joined) {
        if (state_.compare_exchange_weak(state, getpid())) return true;
    }
    return state == joined;
}

void RankZero::end_joining() noexcept {
    state_ = joined;
}

bool RankZero::begin_dismissal(detail::Deadline deadline) noexcept {
    for (;;) {
        pid_t state = state_;
        if (state == joined) return false;
        const bool is_joining = state > 0 && kill(state, 0) == 0;
        if (!is_joining && state_.compare_exchange_strong(state, dismissed)) return true;
        if (deadline.passed()) return false; // the relay dies with the program, and so does the job
        if (is_joining) std::this_thread::sleep_for(1ms);
    }
}

void dismiss_ranks_at_exit() {
    if (variable(program_variable)) return;
    setenv(program_variable, "1", 1);
    void* const page =
        mmap(nullptr, sizeof(RankZero), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    rank_zero = new (page) RankZero;
    on_exit(dismiss_ranks, reinterpret_cast<void*>(std::intptr_t{getpid()}));
}

bool begin_joining() noexcept {
    return rank_zero == nullptr || rank_zero->begin_joining();
}

void end_joining() noexcept {
    if (rank_zero != nullptr) rank_zero->end_joining();
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
