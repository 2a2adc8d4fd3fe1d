#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// \file
/// Everything that prong itself throws. A system call that fails is a `std::system_error` with the
/// call's name; a wrong argument is a `std::invalid_argument`; a call at the wrong time or in the
/// wrong process is a `std::logic_error`. Every future gets an exception object of its own.

namespace prong {

/// The base of prong's errors.
class PRONG_API Error : public std::runtime_error {
public:
    /// Stores the text for `what()`.
    explicit Error(const std::string& what) : std::runtime_error(what) {}
    ~Error() override;
};

/// The pool cannot run tasks any more: workers cannot start, its supervisor has died, a worker has
/// corrupted shared memory, or a death broke it (`OnWorkerDeath::break_pool`). `what()` names the
/// cause. A new pool may be made at once.
class PRONG_API BrokenProcessPool : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~BrokenProcessPool() override;
};

/// How a worker died, as far as it is known.
struct Death {
    /// The process, which has ended.
    int pid = 0;
    /// What the process exited with, or -N when signal N killed it.
    int exitcode = 0;
    /// The kernel killed it because memory had run out (of the machine, or of its memory cgroup).
    bool out_of_memory = false;
    /// Where its code was when it crashed: return addresses, innermost first. Good in the processes
    /// that were forked from one program.
    std::vector<const void*> frames = {};
    /// The end of what the task has written, if `TaskOptions::capture_output` was set.
    std::string last_output = {};
};

/// The worker died while it was running the task (or reading its arguments, or writing its result).
/// No other task is affected (in `map`: the other elements of its chunk are). The worker is
/// replaced unless the pool is ending.
class PRONG_API WorkerDied : public Error {
public:
    /// The death of the worker that ran `task`.
    WorkerDied(Death death, std::string task);
    ~WorkerDied() override;

    /// The worker, which has ended.
    [[nodiscard]] int pid() const noexcept { return death_.pid; }
    /// What the process exited with, or -N when signal N killed it.
    [[nodiscard]] int exitcode() const noexcept { return death_.exitcode; }
    /// The signal that killed the worker, or 0 when it exited by itself.
    [[nodiscard]] int signal() const noexcept { return death_.exitcode < 0 ? -death_.exitcode : 0; }
    /// Whether the kernel killed it because memory had run out.
    [[nodiscard]] bool out_of_memory() const noexcept { return death_.out_of_memory; }
    /// The calls that led to a crash, a line each, innermost first: function, source file and line
    /// as far as the program's debugging information tells. Empty if the worker was killed from
    /// outside or exited. Takes a while when it is asked for the first time. Names in shared
    /// objects are those of the modules that are loaded when it is asked for.
    [[nodiscard]] std::string backtrace() const;
    /// The end of what the task has written, if `TaskOptions::capture_output` was set.
    [[nodiscard]] const std::string& last_output() const noexcept { return death_.last_output; }
    /// The task's function and number, such as `parse(std::string) [task 17]`.
    [[nodiscard]] const std::string& task() const noexcept { return task_; }
    /// All of the above in one value.
    [[nodiscard]] const Death& death() const noexcept { return death_; }

private:
    Death death_;
    std::string task_;
};

/// All 1 + `TaskOptions::max_retries` attempts killed their worker.
class PRONG_API PoisonedTask : public Error {
public:
    /// `attempts` may be more than there are deaths to tell of: only the last ones are kept.
    PoisonedTask(std::vector<Death> deaths, int attempts, std::string task);
    ~PoisonedTask() override;

    /// How often it was tried.
    [[nodiscard]] int attempts() const noexcept { return attempts_; }
    /// How the workers died, the last 16 at most, in their order; only the last one is told with
    /// frames and output.
    [[nodiscard]] const std::vector<Death>& deaths() const noexcept { return deaths_; }
    /// The task's function and number.
    [[nodiscard]] const std::string& task() const noexcept { return task_; }
    /// Of the last attempt.
    [[nodiscard]] std::string backtrace() const;
    /// The end of what the last attempt has written, if `TaskOptions::capture_output` was set.
    [[nodiscard]] const std::string& last_output() const noexcept;

private:
    std::vector<Death> deaths_;
    int attempts_;
    std::string task_;
};

/// The timeout or the deadline of the task has expired (`TaskOptions`): it never started, returned
/// after it had been asked to stop, or its worker was killed and replaced. No other task is
/// affected.
class PRONG_API TaskTimeout : public Error {
public:
    /// `last_output` is what the task has written.
    explicit TaskTimeout(const std::string& what, std::string last_output = {})
        : Error(what), last_output_(std::move(last_output)) {}
    ~TaskTimeout() override;

    /// The end of what the task has written, if `TaskOptions::capture_output` was set.
    [[nodiscard]] const std::string& last_output() const noexcept { return last_output_; }

private:
    std::string last_output_;
};

/// `get()` of a future that was cancelled before a worker claimed its task, or killed while one ran
/// it.
class PRONG_API CancelledError : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~CancelledError() override;
};

/// The time given to a wait ran out. The task goes on.
class PRONG_API TimeoutError : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~TimeoutError() override;
};

/// `submit` after `shutdown`.
class PRONG_API PoolShutdown : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~PoolShutdown() override;
};

/// What a `LimitExceeded` ran into.
enum class LimitKind {
    shared_memory, ///< the pool's shared memory, or what the machine has left for it
    pending_tasks, ///< more tasks and results held at once than the pool has records for
    memory,        ///< `TaskLimits::memory_bytes`
    address_space, ///< `TaskLimits::address_space_bytes`
    cpu_time,      ///< `TaskLimits::cpu_time`
    file_size,     ///< `TaskLimits::max_file_bytes`
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(LimitKind kind);

/// Something needed more than it may have. `what()` says which limit, how much was asked for and
/// how much there is.
class PRONG_API LimitExceeded : public Error {
public:
    /// The arguments are what the functions of the same names return.
    LimitExceeded(LimitKind kind, const std::string& what, std::uint64_t allowed = 0,
                  std::uint64_t used = 0, std::string last_output = {})
        : Error(what), kind_(kind), allowed_(allowed), used_(used),
          last_output_(std::move(last_output)) {}
    ~LimitExceeded() override;

    /// Which limit was exceeded.
    [[nodiscard]] LimitKind kind() const noexcept { return kind_; }
    /// What a task was allowed: bytes, or nanoseconds of processor time. 0 for the kinds that are
    /// no `TaskLimits`.
    [[nodiscard]] std::uint64_t allowed() const noexcept { return allowed_; }
    /// What the task had used when it was ended, in the same unit. `address_space`: the most that
    /// it had, as far as `/proc` tells, without the allocation that failed (what was left when the
    /// error was caught, if an earlier task of the worker had more). `file_size`: the limit itself.
    [[nodiscard]] std::uint64_t used() const noexcept { return used_; }
    /// The end of what the task has written, if `TaskOptions::capture_output` was set.
    [[nodiscard]] const std::string& last_output() const noexcept { return last_output_; }

private:
    LimitKind kind_;
    std::uint64_t allowed_;
    std::uint64_t used_;
    std::string last_output_;
};

/// Bytes that do not decode to the type that was asked for.
class PRONG_API CodecError : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~CodecError() override;
};

/// An exception that was thrown in another process and cannot be rebuilt here as itself:
/// neither a standard type nor one given to `register_exception`. `what()` is the original's;
/// what was nested in it is nested in this.
class PRONG_API RemoteError : public Error {
public:
    /// `type_name` and `what` are those of the original.
    RemoteError(std::string type_name, const std::string& what)
        : Error(what), type_name_(std::move(type_name)) {}
    ~RemoteError() override;

    /// The demangled name of the original's type.
    [[nodiscard]] const std::string& type_name() const noexcept { return type_name_; }

private:
    std::string type_name_;
};

/// The other end of a pipe is closed and everything that it sent has been received.
class PRONG_API EndOfFile : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~EndOfFile() override;
};

} // namespace prong
