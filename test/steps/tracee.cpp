#include "steps/tracee.hpp"

#include "support/sanitizer.hpp"

#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <map>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace prong::test {
namespace {

// What is known of the processor: x86-64.

constexpr std::uint64_t breakpoint = 0xcc; // int3: one byte, so it fits everywhere

/// How long the instruction is if it is a string instruction that repeats itself, else 0. It traps
/// after each repetition.
unsigned repeated_length(Address address) {
    const auto* const code = reinterpret_cast<const unsigned char*>(address);
    if (code[0] != 0xf2 && code[0] != 0xf3) return 0;
    const unsigned wide = (code[1] & 0xf0) == 0x40 ? 1 : 0;
    const unsigned opcode = code[1 + wide];
    const bool is_string = (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf);
    return is_string ? 2 + wide : 0;
}

template <typename Data>
long trace(__ptrace_request request, pid_t pid, std::uint64_t address, Data data) {
    errno = 0;
    const long result = ptrace(request, pid, address, data);
    if (result == -1 && errno != 0)
        throw std::system_error(errno, std::generic_category(), "ptrace");
    return result;
}

user_regs_struct registers_of(pid_t pid) {
    user_regs_struct registers{};
    trace(PTRACE_GETREGS, pid, 0, &registers);
    return registers;
}

[[noreturn]] void fail(pid_t pid, int status) {
    const std::string process = "the traced process " + std::to_string(pid);
    if (WIFEXITED(status)) {
        throw std::runtime_error(process + " has exited with " +
                                 std::to_string(WEXITSTATUS(status)));
    }
    if (WIFSIGNALED(status)) {
        throw std::runtime_error(process + " was killed by signal " +
                                 std::to_string(WTERMSIG(status)));
    }
    throw std::runtime_error(process + " has stopped with status " + std::to_string(status));
}

int collect(pid_t pid) {
    int status = 0;
    while (waitpid(pid, &status, __WALL) != pid) {
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "waitpid");
    }
    return status;
}

bool is_event(int status, int event) {
    return status >> 8 == (SIGTRAP | event << 8);
}

} // namespace

const char* cannot_trace() {
    if (address_sanitizer || thread_sanitizer) return "a sanitizer's instructions are too many";
    const pid_t child = fork();
    if (child == 0) {
        for (;;) pause();
    }
    const bool allowed = ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL) == 0;
    ::kill(child, SIGKILL);
    collect(child);
    return allowed ? "" : "ptrace is not allowed here";
}

bool Halt::is_at(Address address) const {
    return std::ranges::find(places, address) != places.end();
}

Tracee::Tracee(pid_t pid) : pid_(pid) {
    trace(PTRACE_SEIZE, pid_, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK);
}

Tracee& Tracee::operator=(Tracee&& other) noexcept {
    if (this == &other) return *this;
    detach();
    pid_ = std::exchange(other.pid_, 0);
    stands_ = other.stands_;
    breakpoints_ = std::move(other.breakpoints_);
    return *this;
}

Address Tracee::address() const {
    return static_cast<Address>(
        trace(PTRACE_PEEKUSER, pid_, offsetof(user, regs) + offsetof(user_regs_struct, rip), 0));
}

std::uint64_t Tracee::first_argument() const {
    return registers_of(pid_).rdi;
}

std::uint64_t Tracee::word_at(std::uint64_t address) const {
    return static_cast<std::uint64_t>(trace(PTRACE_PEEKDATA, pid_, address, 0));
}

void Tracee::resume() {
    trap(PTRACE_CONT, 0);
}

void Tracee::interrupt() {
    trace(PTRACE_INTERRUPT, pid_, 0, 0);
    for (;;) {
        const int status = wait_for_stop();
        if (is_event(status, PTRACE_EVENT_STOP)) return;
        const bool has_forked = is_event(status, PTRACE_EVENT_FORK);
        if (has_forked) static_cast<void>(take_child()); // let go at once
        trap(PTRACE_CONT, has_forked ? 0 : WSTOPSIG(status));
    }
}

int Tracee::wait_for_stop() {
    const int status = collect(pid_);
    if (!WIFSTOPPED(status)) {
        breakpoints_.clear();
        const pid_t pid = std::exchange(pid_, 0);
        fail(pid, status);
    }
    stands_ = true;
    return status;
}

void Tracee::trap(int request, int signal) {
    trace(static_cast<__ptrace_request>(request), pid_, 0, signal);
    stands_ = false;
}

/// Until the next trap; signals that come in between are delivered.
void Tracee::await_trap(int request) {
    for (;;) {
        const int status = wait_for_stop();
        const bool was_continued = is_event(status, PTRACE_EVENT_STOP); // reported before SIGCONT
        if (status >> 16 != 0 && !was_continued) fail(pid_, status);
        if (WSTOPSIG(status) == SIGTRAP && !was_continued) return;
        trap(request, was_continued ? 0 : WSTOPSIG(status));
    }
}

void Tracee::set_out(const std::vector<Address>& places) {
    for (const Address place : places) {
        const std::uint64_t word = word_at(place);
        breakpoints_.emplace_back(place, word);
        trace(PTRACE_POKETEXT, pid_, place, (word & ~std::uint64_t{0xff}) | breakpoint);
    }
    trap(PTRACE_CONT, 0);
}

void Tracee::arrive() {
    await_trap(PTRACE_CONT);
    remove_breakpoints();
    user_regs_struct registers = registers_of(pid_);
    --registers.rip;
    trace(PTRACE_SETREGS, pid_, 0, &registers);
}

void Tracee::remove_breakpoints() {
    // In the opposite order: two may be within one word.
    for (; !breakpoints_.empty(); breakpoints_.pop_back()) {
        trace(PTRACE_POKETEXT, pid_, breakpoints_.back().first, breakpoints_.back().second);
    }
}

void Tracee::step() {
    const Address here = address();
    if (const unsigned length = repeated_length(here)) {
        set_out({here + length});
        arrive();
    } else {
        trap(PTRACE_SINGLESTEP, 0);
        await_trap(PTRACE_SINGLESTEP);
    }
}

Path Tracee::record(const Halt& halt) {
    Path path;
    try {
        record_to(path, halt);
    } catch (const std::runtime_error&) {
        expect_end_at(halt);
    }
    return path;
}

bool Tracee::run_to(const Point& point, const Halt& halt) {
    try {
        return go_to(point, halt);
    } catch (const std::runtime_error&) {
        expect_end_at(halt);
        return false;
    }
}

void Tracee::expect_end_at(const Halt& halt) {
    if (!halt.or_end) throw;
    if (is_empty()) return;
    try {
        throw;
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::no_such_process) throw;
        await_end(); // another process has just killed it where it stood
    }
}

void Tracee::record_to(Path& path, const Halt& halt) {
    std::map<Address, unsigned> times;
    unsigned cost = 0;
    Address here = address();
    do {
        // To come by a mark takes two traps each time, a step one.
        Point point{.address = here, .mark = here, .nth = ++times[here], .steps = 0};
        if (!path.empty() && ++cost < 2 * point.nth) {
            const Point& before = path.back();
            point = {
                .address = here, .mark = before.mark, .nth = before.nth, .steps = before.steps + 1};
        } else {
            cost = 2 * point.nth;
        }
        path.push_back(point);
        step();
        here = address();
    } while (!halt.is_at(here) || halt.go_on());
}

bool Tracee::go_to(const Point& point, const Halt& halt) {
    if (!go_to_mark(point.mark, point.nth, halt)) return false;
    for (unsigned i = 0; i < point.steps; ++i) {
        step();
        if (halt.is_at(address()) && !halt.go_on()) return false;
    }
    return address() == point.address;
}

bool Tracee::go_to_mark(Address mark, unsigned nth, const Halt& halt) {
    std::vector<Address> places = halt.places;
    if (mark != 0) places.push_back(mark);
    if (address() == mark && --nth == 0) return true;
    step(); // off the place where it stands
    for (;;) {
        const Address here = address();
        if (halt.is_at(here) && !halt.go_on()) return false;
        if (here == mark && --nth == 0) return true;
        if (halt.is_at(here) || here == mark) {
            step();
        } else {
            set_out(places);
            arrive();
        }
    }
}

Tracee Tracee::await_fork() {
    const int status = wait_for_stop();
    if (!is_event(status, PTRACE_EVENT_FORK)) fail(pid_, status);
    return take_child();
}

Tracee Tracee::take_child() const {
    unsigned long child = 0;
    trace(PTRACE_GETEVENTMSG, pid_, 0, &child);
    Tracee result;
    result.pid_ = static_cast<pid_t>(child);
    if (!is_event(result.wait_for_stop(), PTRACE_EVENT_STOP)) throw std::runtime_error("no stop");
    return result;
}

std::optional<Tracee> Tracee::await_fork_or_end() {
    siginfo_t info{};
    waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WSTOPPED | WNOWAIT | __WALL);
    if (info.si_code == CLD_TRAPPED) return await_fork();
    await_end();
    return std::nullopt;
}

int Tracee::await_end() {
    for (;;) {
        const int status = collect(pid_);
        if (!WIFSTOPPED(status)) {
            breakpoints_.clear();
            pid_ = 0;
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        }
        const bool is_signal = status >> 16 == 0;
        trace(PTRACE_CONT, pid_, 0, is_signal ? WSTOPSIG(status) : 0);
    }
}

void Tracee::kill() {
    ::kill(pid_, SIGKILL);
    stands_ = false;
    await_end();
}

void Tracee::stop() {
    ::kill(pid_, SIGSTOP); // taken before the next instruction
    detach();
}

void Tracee::detach() noexcept {
    if (pid_ == 0) return;
    try {
        if (!stands_) interrupt();
        remove_breakpoints();
        if (ptrace(PTRACE_DETACH, pid_, 0, 0) != 0) collect(pid_); // another process has killed it
    } catch (const std::exception&) {                              // it has ended
    }
    pid_ = 0;
}

} // namespace prong::test
