#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// \file
/// Everything that prong itself throws, and where a task threw. A failed system call throws
/// `std::system_error` with the call's name; a wrong argument `std::invalid_argument`; a call at
/// the wrong time or in the wrong process `std::logic_error`. Every future gets its own exception
/// object.

namespace prong {

/// Base of prong's errors.
class PRONG_API Error : public std::runtime_error {
public:
    /// Stores the text for `what()`.
    explicit Error(const std::string& what) : std::runtime_error(what) {}
    ~Error() override;
};

/// Reports that the pool cannot run tasks any more: workers cannot start, its supervisor has died,
/// a worker has corrupted shared memory, or a death broke it (`OnWorkerDeath::break_pool`).
/// `what()` names the cause. A new pool may be created at once.
class PRONG_API BrokenProcessPool : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~BrokenProcessPool() override;
};

/// A process that died while it held a lock, or was a party of a barrier.
struct DeadHolder {
    int pid = 0;           ///< its process id; 0: there is none
    std::string name = {}; ///< its name, as of `current_process().name()` in it
};

/// How a worker died, as far as it is known.
struct Death {
    /// The worker's process id; the process has ended. 0: the worker's rank was lost, and what
    /// follows is unknown.
    int pid = 0;
    /// Exit code of the process, or -N if signal N killed it.
    int exitcode = 0;
    /// Whether the kernel killed it for lack of memory (machine or memory cgroup).
    bool out_of_memory = false;
    /// Call stack at the crash: return addresses, innermost first. Valid in this program and its
    /// forks.
    std::vector<const void*> frames = {};
    /// The last 64 KiB of the task's output, if `TaskOptions::capture_output` was set.
    std::string last_output = {};
    /// The worker's host, if it belongs to a rank of an `MpiPoolExecutor`.
    std::string host = {};
};

/// Reports that the worker died while it was running the task, reading its arguments or writing its
/// result. No other task is affected, except the other elements of a `map` chunk. The worker is
/// replaced unless the pool is ending.
class PRONG_API WorkerDied : public Error {
public:
    /// Stores the death of the worker that ran `task`.
    WorkerDied(Death death, std::string task);
    ~WorkerDied() override;

    /// Returns the worker's process id; the process has ended.
    [[nodiscard]] int pid() const noexcept { return death_.pid; }
    /// Returns the host of a rank's worker (`MpiPoolExecutor`); an empty string for workers that
    /// the program has itself.
    [[nodiscard]] const std::string& host() const noexcept { return death_.host; }
    /// Returns the exit code of the process, or -N if signal N killed it.
    [[nodiscard]] int exitcode() const noexcept { return death_.exitcode; }
    /// Returns the signal that killed the worker, or 0 if it exited.
    [[nodiscard]] int signal() const noexcept { return death_.exitcode < 0 ? -death_.exitcode : 0; }
    /// Returns whether the kernel killed it for lack of memory.
    [[nodiscard]] bool out_of_memory() const noexcept { return death_.out_of_memory; }
    /// Returns the call stack of a crash, one line per call, innermost first. Lines have function,
    /// file and line as far as debug information allows. Returns an empty string if the worker
    /// exited or was killed from outside. The first call is slow: it reads debug information. Names
    /// functions of shared objects that are loaded at the time of the call.
    [[nodiscard]] std::string backtrace() const;
    /// Returns the last 64 KiB of the task's output, if `TaskOptions::capture_output` was set.
    [[nodiscard]] const std::string& last_output() const noexcept { return death_.last_output; }
    /// Returns the task's function and number, such as `parse(std::string) [task 17]`.
    [[nodiscard]] const std::string& task() const noexcept { return task_; }
    /// Returns all of the above in one value.
    [[nodiscard]] const Death& death() const noexcept { return death_; }

private:
    Death death_;
    std::string task_;
};

/// Reports a task with `TaskOptions::max_retries` above 0 whose 1 + `max_retries` attempts all
/// killed their worker. Without retries, and if a task is not retried for another reason, the
/// future throws `WorkerDied`. Is not derived from `WorkerDied`.
class PRONG_API PoisonedTask : public Error {
public:
    /// Stores the deaths of the attempts. `attempts` may exceed `deaths.size()`: only the last 16
    /// deaths are kept.
    PoisonedTask(std::vector<Death> deaths, int attempts, std::string task);
    ~PoisonedTask() override;

    /// Returns the number of attempts.
    [[nodiscard]] int attempts() const noexcept { return attempts_; }
    /// Returns the last deaths, at most 16, oldest first. Only the last has frames and output.
    [[nodiscard]] const std::vector<Death>& deaths() const noexcept { return deaths_; }
    /// Returns the task's function and number.
    [[nodiscard]] const std::string& task() const noexcept { return task_; }
    /// Returns the backtrace of the last attempt.
    [[nodiscard]] std::string backtrace() const;
    /// Returns the last 64 KiB of the last attempt's output, if `TaskOptions::capture_output` was
    /// set.
    [[nodiscard]] const std::string& last_output() const noexcept;

private:
    std::vector<Death> deaths_;
    int attempts_;
    std::string task_;
};

/// Reports that the rank which had the task, a process that serves tasks on another host, was lost,
/// or the connection to it, and that the task may not be tried again (`TaskOptions::max_retries`).
/// The task may have run, in part or as a whole. If `rank()` is -1 it had not been sent to any.
/// `what()` names the cause.
class PRONG_API RankLost : public Error {
public:
    /// Stores what the functions of the same names return. `cause`: how the rank was lost.
    RankLost(std::string host, int rank, const std::string& cause, std::string task);
    ~RankLost() override;

    /// Returns the host of the lost process; an empty string if it is unknown.
    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    /// Returns the rank of the lost process; -1 if the task had not been sent to one.
    [[nodiscard]] int rank() const noexcept { return rank_; }
    /// Returns the task's function and number.
    [[nodiscard]] const std::string& task() const noexcept { return task_; }

private:
    std::string host_;
    int rank_;
    std::string task_;
};

/// Reports that the timeout or deadline of the task has expired (`TaskOptions`). The task never
/// started, returned after it was asked to stop, or its worker was killed and replaced. No other
/// task is affected.
class PRONG_API TaskTimeout : public Error {
public:
    /// Stores the text for `what()` and the task's output.
    explicit TaskTimeout(const std::string& what, std::string last_output = {})
        : Error(what), last_output_(std::move(last_output)) {}
    ~TaskTimeout() override;

    /// Returns the last 64 KiB of the task's output, if `TaskOptions::capture_output` was set.
    [[nodiscard]] const std::string& last_output() const noexcept { return last_output_; }

private:
    std::string last_output_;
};

/// Thrown by `get` of a future whose task was cancelled before a claim, or killed while running.
class PRONG_API CancelledError : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~CancelledError() override;
};

/// Thrown when a wait expires. The task continues.
class PRONG_API TimeoutError : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~TimeoutError() override;
};

/// Thrown by submissions after `shutdown`, and by `MapResult` with unread input.
class PRONG_API PoolShutdown : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~PoolShutdown() override;
};

/// Identifies the limit that was exceeded.
enum class LimitKind {
    /// an argument list or result exceeds `PoolOptions::max_payload_bytes` or the free shared
    /// memory
    shared_memory,
    /// more unfinished tasks and untaken results than the pool has records; not `max_pending`
    pending_tasks,
    memory,        ///< `TaskLimits::memory_bytes`
    address_space, ///< `TaskLimits::address_space_bytes`
    cpu_time,      ///< `TaskLimits::cpu_time`
    file_size,     ///< `TaskLimits::max_file_bytes`
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(LimitKind kind);

/// Reports that a task or the pool exceeded a limit. `what()` names the limit, the amount requested
/// and the amount available.
class PRONG_API LimitExceeded : public Error {
public:
    /// Stores what the functions of the same names return.
    LimitExceeded(LimitKind kind, const std::string& what, std::uint64_t allowed = 0,
                  std::uint64_t used = 0, std::string last_output = {})
        : Error(what), kind_(kind), allowed_(allowed), used_(used),
          last_output_(std::move(last_output)) {}
    ~LimitExceeded() override;

    /// Returns the limit that was exceeded.
    [[nodiscard]] LimitKind kind() const noexcept { return kind_; }
    /// Returns the limit in bytes, or in nanoseconds of processor time. Returns 0 for kinds that
    /// are not in `TaskLimits`.
    [[nodiscard]] std::uint64_t allowed() const noexcept { return allowed_; }
    /// Returns what the task had used when it ended, in the unit of `allowed()`. `address_space`:
    /// the peak according to `/proc`, without the failed allocation. If an earlier task of the
    /// worker had a higher peak, the use when the error was caught. `file_size`: the limit itself.
    [[nodiscard]] std::uint64_t used() const noexcept { return used_; }
    /// Returns the last 64 KiB of the task's output, if `TaskOptions::capture_output` was set.
    [[nodiscard]] const std::string& last_output() const noexcept { return last_output_; }

private:
    LimitKind kind_;
    std::uint64_t allowed_;
    std::uint64_t used_;
    std::string last_output_;
};

/// Reports a value that cannot be encoded, or bytes that do not decode to the requested type.
class PRONG_API CodecError : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~CodecError() override;
};

/// Stands for an exception of another process whose type is unknown here: neither a standard type
/// nor one given to `register_exception`. `what()` is the original's text; exceptions nested in the
/// original are nested in this one.
class PRONG_API RemoteError : public Error {
public:
    /// Stores the type name and text of the original.
    RemoteError(std::string type_name, const std::string& what)
        : Error(what), type_name_(std::move(type_name)) {}
    ~RemoteError() override;

    /// Returns the demangled name of the original's type.
    [[nodiscard]] const std::string& type_name() const noexcept { return type_name_; }

private:
    std::string type_name_;
};

/// Thrown by every use of a lock, event, queue or other object of the family that has ended: the
/// handle that created it was destroyed, in the process that created it.
class PRONG_API ObjectGone : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~ObjectGone() override;
};

/// Thrown by `put` after the queue was closed.
class PRONG_API QueueClosed : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~QueueClosed() override;
};

/// Thrown by waits on a `Barrier` that is broken, or was reset meanwhile.
class PRONG_API BrokenBarrier : public Error {
public:
    /// Stores the text for `what()` and the party that died.
    explicit BrokenBarrier(const std::string& what, DeadHolder dead = {})
        : Error(what), dead_(std::move(dead)) {}
    ~BrokenBarrier() override;

    /// Returns the party whose death broke the barrier; pid 0 if no death did.
    [[nodiscard]] const DeadHolder& who() const noexcept { return dead_; }

private:
    DeadHolder dead_;
};

/// Thrown by every call of an object of a `Manager` whose process has ended, by `shutdown()` or
/// otherwise, also if the call was in progress. Whether such a call had an effect is unknown.
class PRONG_API ManagerDied : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~ManagerDied() override;
};

/// Thrown when the other end of a connection, or a queue, is closed and all its messages have been
/// received.
class PRONG_API EndOfFile : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~EndOfFile() override;
};

/// Reports that the other side of a connection does not have the same authkey, or none.
class PRONG_API AuthenticationError : public Error {
public:
    using Error::Error; ///< stores the text for `what()`
    ~AuthenticationError() override;
};

/// Returns the call stack of the place where a task threw this exception, one line per call,
/// innermost first, in the format of `WorkerDied::backtrace`. Needs `TaskOptions::capture_stack`.
/// Pass the object that `get` threw by reference: a copy has lost the stack. Returns an empty
/// string if the place is unknown, as for a nested exception and for a registered class that is
/// final. The first call is slow: it reads debug information. Thread safety: any thread.
[[nodiscard]] PRONG_API std::string thrown_at(const std::exception& error);

/// Does the same for an exception of any type, such as one of `Future::exception`. Returns an empty
/// string for a null pointer.
[[nodiscard]] PRONG_API std::string thrown_at(const std::exception_ptr& error);

} // namespace prong
