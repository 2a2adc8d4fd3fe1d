#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

namespace prong::test {

/// An address in the code, the same in all processes of the fork family.
using Address = std::uintptr_t;

template <typename R, typename... Args>
Address address_of(R (*function)(Args...)) {
    return reinterpret_cast<Address>(function);
}
template <typename R, typename... Args>
Address address_of(R (*function)(Args...) noexcept) {
    return reinterpret_cast<Address>(function);
}

/// An instruction of a run, and how a later run gets there without stepping through all before it:
/// `steps` steps after it comes to `mark` for the `nth` time (from 1).
struct Point {
    Address address;
    Address mark;
    unsigned nth;
    unsigned steps;
};
using Path = std::vector<Point>;

/// Where a run may end, and what to do there: `go_on` returns whether it continues.
struct Halt {
    std::vector<Address> places;
    std::function<bool()> go_on = [] { return false; };
    bool or_end = false; ///< or with the process

    [[nodiscard]] bool is_at(Address address) const;
};

/// Why no test can trace its descendants here, instruction by instruction; empty if it can.
const char* cannot_trace();

/// A descendant of this process (of the same program image: its code is looked up in our own),
/// traced: stopped between two of its instructions, unless `resume` has let it run. It dies with
/// its tracer. All calls by the thread that made it.
///
/// Throws `std::runtime_error` when the process does something that the call does not expect, such
/// as ending.
class Tracee {
public:
    Tracee() = default;
    /// Attaches to a running process, which continues to run.
    explicit Tracee(pid_t pid);
    Tracee(Tracee&& other) noexcept { *this = std::move(other); }
    Tracee& operator=(Tracee&& other) noexcept;
    /// Detaches: the process continues, untraced.
    ~Tracee() { detach(); }

    [[nodiscard]] pid_t pid() const { return pid_; }

    /// Where it stands: the next instruction.
    [[nodiscard]] Address address() const;
    /// The first argument of the function at whose first instruction it stands.
    [[nodiscard]] std::uint64_t first_argument() const;
    /// Its memory.
    [[nodiscard]] std::uint64_t word_at(std::uint64_t address) const;

    /// One instruction; a repeated string instruction counts as one.
    void step();
    // The runs. With a halt that has `or_end`, this may be empty afterwards.

    /// Records every instruction from here on until a halt ends the run.
    Path record(const Halt& halt);
    /// Continues to `point`, counted from here on. Returns false if it did not come there, or a
    /// halt has ended the run before.
    bool run_to(const Point& point, const Halt& halt);
    /// Continues until a halt ends the run.
    void run_to(const Halt& halt) { run_to({.address = 0, .mark = 0, .nth = 1, .steps = 0}, halt); }

    /// Lets it run, until one of the next.
    void resume();
    /// Lets it run to one of these places, and waits until it is there.
    void set_out(const std::vector<Address>& places);
    void arrive();
    /// Stops it at any point. Detaches what it has forked meanwhile.
    void interrupt();
    /// Running: until it forks. Returns the child before its first instruction; this stands, too.
    Tracee await_fork();
    /// Like `await_fork`, or until it ends; then this is empty.
    std::optional<Tracee> await_fork_or_end();
    [[nodiscard]] bool is_empty() const { return pid_ == 0; }
    /// Running, or about to be killed: waits until it ends. Returns its exit code, or -N for
    /// signal N.
    int await_end();

    /// SIGKILL: not one more instruction is executed.
    void kill();
    /// Like `kill`, by SIGSTOP; stopped, but no longer traced.
    void stop();
    void detach() noexcept;
    /// Another process collects it, or has done so.
    void forget() { pid_ = 0; }

private:
    void record_to(Path& path, const Halt& halt);
    bool go_to(const Point& point, const Halt& halt);
    bool go_to_mark(Address mark, unsigned nth, const Halt& halt);
    /// In a handler: throws on unless the process has ended, as the halt allows.
    void expect_end_at(const Halt& halt);
    [[nodiscard]] Tracee take_child() const;
    int wait_for_stop();
    void await_trap(int request);
    void trap(int request, int signal);
    void remove_breakpoints();

    pid_t pid_ = 0;
    bool stands_ = false;
    std::vector<std::pair<Address, std::uint64_t>> breakpoints_; ///< and what was there
};

} // namespace prong::test
