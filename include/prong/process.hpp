#pragma once

#include <prong/detail/export.hpp>
#include <prong/fwd.hpp>
#include <prong/timeout.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

/// \file
/// Single processes: to run a function in a process of its own, to watch it and to end it.

namespace prong {

namespace detail {

struct ProcessState;

/// What a `Process` was given to run.
class Target {
public:
    virtual ~Target() = default;
    /// In the child, before anything else.
    virtual void enter_child() = 0;
    virtual void call() = 0;
};

// An argument that has something to do in the child, a `Connection`, has functions of these names.
template <typename T>
void keep_in_child(T& part) {
    if constexpr (requires { prong_keep_end(part); }) prong_keep_end(part);
}
template <typename T>
void drop_in_child(T& part) {
    if constexpr (requires { prong_drop_other_end(part); }) prong_drop_other_end(part);
}

template <typename Callable, typename... Args>
class BoundTarget final : public Target {
public:
    template <typename... Given>
    explicit BoundTarget(Given&&... given) : parts_(std::forward<Given>(given)...) {}

    void enter_child() override {
        std::apply([](auto&... parts) { (keep_in_child(parts), ...); }, parts_);
        std::apply([](auto&... parts) { (drop_in_child(parts), ...); }, parts_);
    }

    void call() override {
        std::apply([](auto&... parts) { std::invoke(std::move(parts)...); }, parts_);
    }

private:
    std::tuple<Callable, Args...> parts_;
};

} // namespace detail

/// A process that runs a function: `Process p(f, args...); p.start(); p.join();`. Or derive from it
/// and override `run()`.
///
/// The process is forked from the thread that calls `start()`, so it has a copy of everything:
/// anything may be captured or passed, `std::ref` too, but what the child changes only the child
/// sees. Of the program's threads only the calling one exists in the child; a mutex that another
/// one held stays locked there. Results come back through a `Pipe`.
///
/// The child ends when the function returns (exit code 0, whatever it returned), when it throws
/// (exit code 1, the exception's type and text on stderr), or by `std::exit(n)` (exit code n).
/// The parent's exit handlers and static destructors do not run in it, and neither do the
/// destructors of what lives on the stack of the thread that called `start()`. Its signal
/// handlers are reset, and no signal is blocked: Ctrl-C ends it.
///
/// Thread safety: any number of threads may use one object at once, but not while it is moved,
/// closed or destroyed.
///
/// Process safety: the end of the child is seen however it ends, and nothing here waits for a
/// process that is gone. Signals go through a pidfd and never reach a stranger that was given the
/// child's number. If the program ignores SIGCHLD or collects every child itself by
/// `waitpid(-1)`, all works as well; only the exit code is lost on kernels before Linux 6.15.
/// In a child that is forked while the object exists, the child's copy is inert: its destructor
/// does nothing; its name, `daemon()` and `pid()` can be used, everything else throws.
///
/// Every member throws `std::logic_error` when called at the wrong time: after `close()`, on a
/// moved-from object, before `start()` where there must be a process, or in another process than
/// the one that created the object.
class PRONG_API Process {
public:
    /// The exit code of a process whose status somebody else collected.
    static constexpr int unknown_exitcode = 255;

    /// Nothing to run: for a class that overrides `run()`.
    Process();

    /// To run `f(args...)`. Both are copied or moved into the object, as `std::thread` does; to
    /// pass a reference, use `std::ref`. What the function returns is ignored.
    template <typename F, typename... Args>
        requires(!std::derived_from<std::remove_cvref_t<F>, Process> &&
                 std::invocable<std::decay_t<F>, std::decay_t<Args>...>)
    explicit Process(F&& f, Args&&... args) : Process() {
        using Target = detail::BoundTarget<std::decay_t<F>, std::decay_t<Args>...>;
        target_ = std::make_unique<Target>(std::forward<F>(f), std::forward<Args>(args)...);
    }

    /// The new object takes over, running or not. An object of a derived class moved to a plain
    /// `Process` loses its `run()`: keep those by `std::unique_ptr` or in a container of their
    /// type.
    Process(Process&& other) noexcept;
    /// Ends what it held as the destructor does, then takes over.
    Process& operator=(Process&& other) noexcept;

    /// Waits for a process that still runs; a daemon is killed first. Never throws. A child that in
    /// its turn waits for the end of this process's side of a pipe must see that closed before.
    virtual ~Process();

    /// What the child does; calls the function that the constructor was given. Called directly, it
    /// runs here, and at most once, as the function and its arguments are moved from.
    virtual void run();

    /// Forks; returns in the parent as soon as the child exists. The function and its arguments are
    /// destroyed in the parent then, so the end of a pipe that was moved in is only the child's.
    /// Throws `std::logic_error` when called twice or by a daemon, `std::system_error` when the
    /// system allows no more processes or descriptors; then it may be called again.
    void start();

    /// Waits until the process has ended, and collects it. Again: returns at once.
    void join();

    /// Waits at most so long; returns whether the process has ended. Zero and less: does not wait.
    bool join_for(Timeout timeout);

    /// Sends SIGTERM: the process dies unless it handles it. No error if it has ended already.
    void terminate();
    /// Sends SIGKILL, which nothing withstands. No error if it has ended already.
    void kill();
    /// Sends SIGINT, as Ctrl-C does. No error if it has ended already.
    void interrupt();

    /// Whether it has been started and has not ended. Collects it if it has. Does not wait.
    [[nodiscard]] bool is_alive() const;

    /// 0 before `start()`; kept after the end, when the system may use the number again.
    [[nodiscard]] int pid() const;

    /// What it is called in messages; "Process-N" by default, the Nth of its creator. If the
    /// creator is not the main process, the creator's own first name and N: "Process-2:1",
    /// "PoolWorker-0:1".
    [[nodiscard]] std::string name() const;
    /// Sets the name that messages use.
    void set_name(std::string name);

    /// A daemon dies with its parent, however that ends, also by SIGKILL, and may start no
    /// processes. Default: whether the creating process is one, so false.
    /// A daemon that blocks all signals, or is stopped, may outlive a parent that is killed.
    [[nodiscard]] bool daemon() const;
    /// Before `start()` only, else `std::logic_error`.
    void set_daemon(bool daemon);

    /// Empty until it has ended, then what it exited with, or -N when signal N killed it, or
    /// `unknown_exitcode`. Collects it if it has ended. Does not wait.
    [[nodiscard]] std::optional<int> exitcode() const;

    /// A descriptor that becomes readable when the process ends, for `wait`, `poll` or an event
    /// loop; good from `start()` until `close()` or the object's end. Not to be read or closed.
    [[nodiscard]] int sentinel() const;

    /// Gives up the descriptor. `std::logic_error` if the process still runs. Afterwards its name,
    /// `daemon()` and `close()` can be used.
    void close();

private:
    detail::ProcessState& state() const;
    void end() noexcept;

    std::shared_ptr<detail::ProcessState> state_; // null when moved from
    std::unique_ptr<detail::Target> target_;
};

/// A process of the family as its relatives see it: this one, its parent or a child. A light handle
/// that may be copied; it neither joins nor kills anything when it goes.
///
/// Thread safety: as `Process`; each thread may have its own copy.
class PRONG_API ProcessInfo {
public:
    /// The process id.
    [[nodiscard]] int pid() const;
    /// The name that messages use.
    [[nodiscard]] std::string name() const;
    /// Whether the process is a daemon.
    [[nodiscard]] bool daemon() const;

    /// Does not wait.
    [[nodiscard]] bool is_alive() const;

    /// Waits until it has ended, the parent or a child; `std::logic_error` for this process itself.
    void join() const;
    /// Waits at most so long; returns whether it has ended. Zero and less: does not wait.
    bool join_for(Timeout timeout) const;

    /// As those of `Process`; children only, else `std::logic_error`.
    void terminate() const;
    /// Like `Process::kill`; children only.
    void kill() const;
    /// Like `Process::interrupt`; children only.
    void interrupt() const;
    /// Like `Process::exitcode`; children only.
    [[nodiscard]] std::optional<int> exitcode() const;

    /// Whether both are the same process.
    friend bool operator==(const ProcessInfo&, const ProcessInfo&) = default;

private:
    friend ProcessInfo current_process();
    friend std::optional<ProcessInfo> parent_process();
    friend std::vector<ProcessInfo> active_children();

    explicit ProcessInfo(std::shared_ptr<detail::ProcessState> state) : state_(std::move(state)) {}

    std::shared_ptr<detail::ProcessState> state_;
};

/// The process that calls: "MainProcess", one that a `Process` started, or a worker of a pool,
/// which is called "PoolWorker-" and its index. A process that is forked by another call keeps the
/// name. Thread safety: any thread, as the three below.
PRONG_API ProcessInfo current_process();

/// The process that started this one by a `Process`; in a worker the one that made the pool; empty
/// in the main process. It may have ended. Throws `std::system_error` when a worker may have no
/// more descriptors.
PRONG_API std::optional<ProcessInfo> parent_process();

/// The children that this process has started by a `Process` and that still run, in the order of
/// their start. Collects those that have ended.
///
/// When the program ends (by `exit` or the end of `main`), daemons still in this list are killed
/// and the others waited for.
PRONG_API std::vector<ProcessInfo> active_children();

/// The number of CPUs of the machine, at least 1. A pool counts those that it may use instead.
PRONG_API int cpu_count() noexcept;

} // namespace prong
