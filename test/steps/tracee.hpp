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

/// An instruction of a run, and how a later run is brought there without stepping through all
/// before it: so many steps after the `nth` time (from 1) that it comes to `mark`.
struct Point {
    Address address;
    Address mark;
    unsigned nth;
    unsigned steps;
};
using Path = std::vector<Point>;

/// Where a run may end, and what to do there: returns whether it goes on.
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
    /// Takes a process that runs; it goes on running.
    explicit Tracee(pid_t pid);
    Tracee(Tracee&& other) noexcept { *this = std::move(other); }
    Tracee& operator=(Tracee&& other) noexcept;
    /// It goes on, untraced.
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
    // The runs. Where the halt says `or_end`, this may be nobody afterwards.

    /// Every instruction from here on until a halt says so.
    Path record(const Halt& halt);
    /// Goes on to `point`, counted from here on; false when that was not there, or a halt has ended
    /// the run before.
    bool run_to(const Point& point, const Halt& halt);
    /// Goes on until a halt says so.
    void run_to(const Halt& halt) { run_to({.address = 0, .mark = 0, .nth = 1, .steps = 0}, halt); }

    /// Lets it run, until one of the next.
    void resume();
    /// Lets it run to one of these places, and waits until it is there.
    void set_out(const std::vector<Address>& places);
    void arrive();
    /// Stops it, wherever it is. What it has forked meanwhile is let go.
    void interrupt();
    /// Running: until it forks. Returns the child before its first instruction; this stands, too.
    Tracee await_fork();
    /// Likewise, or until it ends; then this is nobody.
    std::optional<Tracee> await_fork_or_end();
    [[nodiscard]] bool is_empty() const { return pid_ == 0; }
    /// Running, or about to be killed by somebody: until it ends. Returns its exit code, or -N for
    /// signal N.
    int await_end();

    /// SIGKILL: not one more instruction is executed.
    void kill();
    /// SIGSTOP, likewise; stopped, but no longer traced.
    void stop();
    void detach() noexcept;
    /// It is being, or has been, collected by somebody else.
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
