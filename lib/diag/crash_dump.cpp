#include "diag/crash_dump.hpp"

#include "os/capture.hpp"

#include <boost/stacktrace/safe_dump_to.hpp>

#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>

namespace prong::diag {
namespace {

constexpr unsigned seconds_to_dump = 5;

CrashDump* place = nullptr;
pid_t owner = 0;                       ///< children have no access to the dump
std::array<std::byte, 64 << 10> stack; ///< the crashing thread's stack may have overflowed

std::uint64_t interrupted_at(const void* context) {
    const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return static_cast<std::uint64_t>(registers.gregs[REG_RIP]);
#elif defined(__aarch64__)
    return registers.pc;
#else
    static_cast<void>(registers);
    return 0;
#endif
}

/// Returns the return address of the interrupted function, for one that has not set up its frame.
std::uint64_t caller_on_stack(const void* context) {
    const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return *reinterpret_cast<const std::uint64_t*>(registers.gregs[REG_RSP]);
#elif defined(__aarch64__)
    return registers.regs[30];
#else
    static_cast<void>(registers);
    return 0;
#endif
}

void on_crash(int signal, siginfo_t* /*info*/, void* context) {
    if (getpid() != owner) {
        raise(signal);
        return;
    }
    // The default disposition is restored, so a second crash in here just ends the process; so does
    // a timer if the unwinder hangs.
    std::signal(SIGALRM, SIG_DFL);
    alarm(seconds_to_dump);
    place->signal.store(signal, std::memory_order_release);
    os::flush_lines_in_crash();
    std::array<std::uint64_t, std::tuple_size_v<decltype(CrashDump::frames)> + 8> frames{};
    boost::stacktrace::safe_dump_to(frames.data(), sizeof(frames));
    // Leave out this handler and its caller.
    const std::uint64_t interrupted = interrupted_at(context);
    const auto* begin = std::find(frames.begin(), frames.end() - 1, interrupted);
    if (begin == frames.end() - 1) begin = frames.begin();
    const auto count =
        std::min<std::size_t>(static_cast<std::size_t>(frames.end() - begin), place->frames.size());
    std::copy_n(begin, count, place->frames.begin());
    // A call of an address without code ends the unwinding. This step comes last, because the stack
    // may be unreadable.
    if (interrupted == 0 || (*begin == interrupted && begin[1] == 0))
        place->frames[0] = caller_on_stack(context);
    raise(signal);
}

} // namespace

void dump_crashes_to(CrashDump& dump) noexcept {
    place = &dump;
    owner = getpid();
    const stack_t alternate{.ss_sp = stack.data(), .ss_flags = 0, .ss_size = stack.size()};
    sigaltstack(&alternate, nullptr);
    struct sigaction action {};
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | static_cast<int>(SA_RESETHAND);
    for (const int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP}) {
        sigaction(signal, &action, nullptr);
    }
}

} // namespace prong::diag
