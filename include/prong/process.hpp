#pragma once

#include <prong/detail/async_members.hpp>
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
/// Runs a function in a child process, watches it and ends it.

namespace prong {

namespace detail {

class ProcessEnd;
struct ProcessState;

/// What a `Process` was given to run.
class Target {
public:
    virtual ~Target() = default;
    /// In the parent, before the child is started.
    virtual void prepare() = 0;
    /// In the child, before anything else.
    virtual void enter_child() = 0;
    virtual void call() = 0;
    /// In the parent, when the child has been started.
    virtual void leave_parent(int child) = 0;
};

// An argument that has something to do when it goes over to the child, such as a `Connection`, a
// `Listener` or a `SharedBuffer`, has functions of these names.
template <typename T>
void prepare_start(T& part) {
    if constexpr (requires { prong_prepare_start(part); }) prong_prepare_start(part);
}
template <typename T>
void keep_in_child(T& part) {
    if constexpr (requires { prong_keep_end(part); }) prong_keep_end(part);
}
template <typename T>
void drop_in_child(T& part) {
    if constexpr (requires { prong_drop_other_end(part); }) prong_drop_other_end(part);
}
template <typename T>
void give_away(T& part, int child) {
    if constexpr (requires { prong_give_away(part, child); }) prong_give_away(part, child);
}

template <typename Callable, typename... Args>
class BoundTarget final : public Target {
public:
    template <typename... Given>
    explicit BoundTarget(Given&&... given) : parts_(std::forward<Given>(given)...) {}

    void prepare() override {
        std::apply([](auto&... parts) { (prepare_start(parts), ...); }, parts_);
    }

    void enter_child() override {
        std::apply([](auto&... parts) { (keep_in_child(parts), ...); }, parts_);
        std::apply([](auto&... parts) { (drop_in_child(parts), ...); }, parts_);
    }

    void call() override {
        std::apply([](auto&... parts) { std::invoke(std::move(parts)...); }, parts_);
    }

    void leave_parent(int child) override {
        std::apply([child](auto&... parts) { (give_away(parts, child), ...); }, parts_);
    }

private:
    std::tuple<Callable, Args...> parts_;
};

} // namespace detail

/// A process that runs a function: `Process p(f, args...); p.start(); p.join();`. Or derive from it
/// and override `run()`.
///
/// The child is forked from the thread that calls `start()` and copies everything. Anything may be
/// captured or passed, `std::ref` too. The parent does not see the child's changes. Results come
/// back through a `Pipe`. Only the calling thread exists in the child; a mutex that another thread
/// held stays locked there.
///
/// The child ends when the function returns (exit code 0, whatever it returns), when it throws
/// (exit code 1, the exception's type and text on stderr), or by `std::exit(n)` (exit code n). The
/// parent's exit handlers and static destructors do not run in it, nor do the destructors of
/// objects on the stack of the thread that called `start()`. Its signal handlers are reset, and no
/// signal is blocked: Ctrl-C ends it.
///
/// Members throw `std::logic_error` when called at the wrong time: after `close()`, on a moved-from
/// object, before `start()` if they need a process, or in another process than the creator of the
/// object.
///
/// Thread safety: any number of threads may use one object at once, but not while it is moved,
/// closed or destroyed.
///
/// Process safety: the end of the child is detected however it ends; no wait outlasts the process.
/// Signals go through a pidfd and cannot reach another process that reuses the pid. prong still
/// works if the program ignores SIGCHLD or reaps all children. Kernels before Linux 6.15 then lose
/// the exit code. In a process forked while the object exists, the copy is inert: its destructor
/// does nothing; `name`, `set_name`, `daemon` and `pid` work, other members throw.
class PRONG_API Process {
public:
    /// Exit code reported when other code has reaped the child. Equals a genuine `exit(255)`.
    static constexpr int unknown_exitcode = 255;

    /// For a class that overrides `run()`.
    Process();

    /// Will run `f(args...)`. Copies or moves both into the object, like `std::thread`; to pass a
    /// reference, use `std::ref`. The function's return value is ignored.
    template <typename F, typename... Args>
        requires(!std::derived_from<std::remove_cvref_t<F>, Process> &&
                 std::invocable<std::decay_t<F>, std::decay_t<Args>...>)
    explicit Process(F&& f, Args&&... args) : Process() {
        using Target = detail::BoundTarget<std::decay_t<F>, std::decay_t<Args>...>;
        target_ = std::make_unique<Target>(std::forward<F>(f), std::forward<Args>(args)...);
    }

    /// Takes over the process, running or not. Moving a derived object into a plain `Process` loses
    /// its `run()`: keep it in a `std::unique_ptr`, or in a container of its type.
    Process(Process&& other) noexcept;
    /// Ends its own process like the destructor, then takes over the other's.
    Process& operator=(Process&& other) noexcept;

    /// Blocks until a running child has ended; kills a daemon first. Never throws. Close this side
    /// of a pipe beforehand if the child waits for that.
    virtual ~Process();

    /// Runs in the child; calls the function that the constructor was given. Called directly, runs
    /// it in this process, at most once: the function and its arguments are moved from.
    virtual void run();

    /// Forks; returns in the parent as soon as the child exists. Then destroys the function and its
    /// arguments in the parent, so a pipe's end that was moved in belongs only to the child.
    /// *Throws* `std::logic_error` when called twice or by a daemon; `std::system_error` if the
    /// system refuses processes or descriptors: then it may be called again.
    void start();

    /// Blocks until the process has ended, and reaps it. Returns at once when repeated.
    void join();

    /// Blocks until the process has ended, at most `timeout` (0: does not block). Returns whether
    /// it has ended.
    bool join_for(Timeout timeout);

    /// Waits in an event loop until the process has ended: `async_wait([executor,] [token])`, with
    /// `<prong/asio.hpp>`. The handler gets `(error_code, int exitcode)`. *Default:* the handler's
    /// executor; `use_awaitable`. Any number of waits may be in progress. Cancellation ends the
    /// wait (`operation_aborted`), not the process. The wait goes on when this object is moved or
    /// destroyed. *Throws* `std::logic_error` like `join`.
    template <typename... Args>
    auto async_wait(Args&&... args) const {
        return detail::DefinedInProngAsioHpp<Process, Args...>().async_wait(
            *this, std::forward<Args>(args)...);
    }

    /// Sends SIGTERM: ends the process unless it handles the signal. Does nothing if it has ended.
    void terminate();
    /// Sends SIGKILL, which no process can handle. Does nothing if it has ended.
    void kill();
    /// Sends SIGINT, like Ctrl-C. Does nothing if it has ended.
    void interrupt();

    /// Returns whether the process has started and has not ended. Reaps it if it has ended. Does
    /// not block.
    [[nodiscard]] bool is_alive() const;

    /// Returns the process id; 0 before `start()`. Keeps it after the end, when the system may
    /// reuse it.
    [[nodiscard]] int pid() const;

    /// Returns the name used in messages. *Default:* "Process-N", counted per creator. Below the
    /// main process: the creator's default name and N, such as "Process-2:1" or "PoolWorker-0:1".
    [[nodiscard]] std::string name() const;
    /// Sets the name used in messages.
    void set_name(std::string name);

    /// Returns whether the process is a daemon. A daemon dies with its parent, even when SIGKILL
    /// ends the parent. The end of the thread that started it does not matter. A daemon may start
    /// no `Process`, but may create pools. A daemon that is stopped or blocks all signals may
    /// outlive a killed parent. *Default:* false.
    [[nodiscard]] bool daemon() const;
    /// Makes it a daemon or not. *Throws* `std::logic_error` after `start()`.
    void set_daemon(bool daemon);

    /// Returns the secret that the processes of a program share, for `Listener` and `Client`.
    /// *Default:* that of the creator when the object was created: 32 random bytes, unless it was
    /// set.
    [[nodiscard]] std::string authkey() const;
    /// Gives the process another key, which its own children will inherit. *Throws*
    /// `std::logic_error` after `start()`.
    void set_authkey(std::string key);

    /// Returns the exit code, -N if signal N killed it, or `unknown_exitcode`; empty until the
    /// process has ended. Reaps it if it has ended. Does not block.
    [[nodiscard]] std::optional<int> exitcode() const;

    /// Returns a descriptor that becomes readable when the process ends, for `wait`, `poll` or an
    /// event loop. Valid from `start()` until `close()` or the object's end. Do not read or close
    /// it.
    [[nodiscard]] int sentinel() const;

    /// Closes the sentinel. *Throws* `std::logic_error` while the process runs. Afterwards only
    /// `name`, `set_name`, `daemon` and `close` work.
    void close();

private:
    friend class detail::ProcessEnd;

    detail::ProcessState& state() const;
    void end() noexcept;

    std::shared_ptr<detail::ProcessState> state_; // null when moved from
    std::unique_ptr<detail::Target> target_;
};

/// Handle of this process, its parent or a child. Copying is cheap; destruction neither joins nor
/// kills.
///
/// Thread safety: like `Process`; each thread may have its own copy.
class PRONG_API ProcessInfo {
public:
    /// Returns the process id.
    [[nodiscard]] int pid() const;
    /// Returns the name used in messages.
    [[nodiscard]] std::string name() const;
    /// Returns whether the process is a daemon.
    [[nodiscard]] bool daemon() const;

    /// Returns the secret that the processes of a program share, for `Listener` and `Client`: 32
    /// random bytes, unless it was set. Processes that this one starts and workers of its pools
    /// inherit it; with a zygote, workers have the key as it was at `start_zygote`. *Throws*
    /// `std::system_error` if the system has no random numbers.
    [[nodiscard]] std::string authkey() const;
    /// Gives this process another key, also for what it starts from now on. *Throws*
    /// `std::logic_error` for a process that runs already and is not this one.
    void set_authkey(std::string key) const;

    /// Returns whether the process has not ended. Does not block.
    [[nodiscard]] bool is_alive() const;

    /// Blocks until the process has ended, the parent or a child. *Throws* `std::logic_error` for
    /// this process.
    void join() const;
    /// Like `join`, but blocks at most `timeout` (0: does not block). Returns whether it has ended.
    bool join_for(Timeout timeout) const;

    /// Like `Process::terminate`; children only, else `std::logic_error`.
    void terminate() const;
    /// Like `Process::kill`; children only, else `std::logic_error`.
    void kill() const;
    /// Like `Process::interrupt`; children only, else `std::logic_error`.
    void interrupt() const;
    /// Like `Process::exitcode`; children only, else `std::logic_error`.
    [[nodiscard]] std::optional<int> exitcode() const;

    /// Returns whether both are the same process.
    friend bool operator==(const ProcessInfo&, const ProcessInfo&) = default;

private:
    friend ProcessInfo current_process();
    friend std::optional<ProcessInfo> parent_process();
    friend std::vector<ProcessInfo> active_children();

    explicit ProcessInfo(std::shared_ptr<detail::ProcessState> state) : state_(std::move(state)) {}

    std::shared_ptr<detail::ProcessState> state_;
};

/// Returns the calling process. Its name is "MainProcess", that of the `Process` that started it,
/// or in a worker of a pool "PoolWorker-" and its index. A process forked by another call keeps the
/// name. Thread safety: any thread, like the three functions below.
PRONG_API ProcessInfo current_process();

/// Returns the process that started this one by a `Process`; in a worker the one that created the
/// pool; empty in the main process. It may have ended. *Throws* `std::system_error` if a worker can
/// open no more descriptors.
PRONG_API std::optional<ProcessInfo> parent_process();

/// Returns the running children that this process has started by a `Process`, in the order of their
/// start. Reaps those that have ended.
///
/// When the program ends (by `exit` or the end of `main`), kills daemons in this list and waits for
/// the others.
PRONG_API std::vector<ProcessInfo> active_children();

/// Returns the number of CPUs of the machine, at least 1. A pool counts only usable CPUs.
PRONG_API int cpu_count() noexcept;

} // namespace prong
