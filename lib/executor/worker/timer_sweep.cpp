#include "executor/worker/timer_sweep.hpp"

#include "base/file.hpp"
#include "os/process.hpp"

#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>

namespace prong::executor {
namespace {

constexpr std::uint32_t sweeps_before_trust = 16;
constexpr std::uint32_t tasks_per_sweep = 1024;

bool is_deadly(int signal) {
    return os::has_disposition(signal, SIG_DFL);
}

constexpr std::array timers{std::pair{ITIMER_REAL, SIGALRM}, std::pair{ITIMER_VIRTUAL, SIGVTALRM},
                            std::pair{ITIMER_PROF, SIGPROF}};

bool is_running(__itimer_which timer) {
    itimerval left{};
    if (getitimer(timer, &left) != 0) return false;
    return left.it_value.tv_sec != 0 || left.it_value.tv_usec != 0;
}

/// Returns the number of the next timer: the kernel numbers a process's timers in sequence.
int probe_next_timer() noexcept {
    sigevent silent{};
    silent.sigev_notify = SIGEV_NONE;
    int number = 0;
    if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &silent, &number) != 0) return 0;
    syscall(SYS_timer_delete, number);
    return number + 1;
}

/// Deletes timers from this number on whose signal would kill the process. Returns whether there
/// were any.
bool delete_deadly_timers(int first) {
    bool has_found = false;
    // "ID: 3", "signal: 14/0000…", "notify: signal/pid.7"
    const std::string list = base::read_file("/proc/self/timers").value_or("");
    int number = 0;
    int signal = 0;
    for (std::string_view rest = list; !rest.empty();) {
        const std::string_view name = base::next_word(rest);
        const auto value = [&] {
            return static_cast<int>(base::to_number(base::next_word(rest)).value_or(0));
        };
        if (name == "ID:") number = value();
        if (name == "signal:") signal = value();
        if (name != "notify:" || !base::next_word(rest).starts_with("signal/")) continue;
        if (number >= first && is_deadly(signal))
            has_found = syscall(SYS_timer_delete, number) == 0 || has_found;
    }
    return has_found;
}

} // namespace

TimerSweep::TimerSweep() noexcept : next_timer_(probe_next_timer()) {
    for (std::size_t i = 0; i < timers.size(); ++i) was_running_[i] = is_running(timers[i].first);
}

void TimerSweep::begin(std::int64_t now_ns) noexcept {
    if (now_ns == tick_ns_) return;
    tick_ns_ = now_ns;
    sweep_what_is_due();
}

void TimerSweep::end(std::uint64_t kind) noexcept {
    const bool is_own = !std::exchange(is_due_, true); // what a sweep finds now
    Trust& trust = trusts_[(kind ^ kind >> 7 ^ kind >> 16) % trusts_.size()];
    if (trust.kind != kind) trust = {.kind = kind};
    ++trust.ended;
    if (trust.ended > sweeps_before_trust && trust.ended % tasks_per_sweep != 0) return;
    if (!sweep()) return;
    if (is_own)
        trust.ended = 0;
    else
        trusts_ = {};
}

void TimerSweep::idle() noexcept {
    sweep_what_is_due();
}

void TimerSweep::sweep_what_is_due() noexcept {
    if (is_due_ && sweep()) trusts_ = {}; // it may be any function's
}

bool TimerSweep::sweep() noexcept {
    is_due_ = false;
    bool has_found = false;
    for (std::size_t i = 0; i < timers.size(); ++i) {
        const auto& [timer, signal] = timers[i];
        if (was_running_[i] || !is_running(timer) || !is_deadly(signal)) continue;
        const itimerval none{};
        setitimer(timer, &none, nullptr);
        has_found = true;
    }
    const int first = next_timer_;
    next_timer_ = probe_next_timer();
    if (next_timer_ == first + 1) return has_found;
    try {
        return delete_deadly_timers(first) || has_found;
    } catch (...) { // no memory to read the list
        return true;
    }
}

} // namespace prong::executor
