#pragma once

#include <prong/detail/export.hpp>

#include <optional>
#include <stdexcept>
#include <string>

/// \file
/// Everything that prong itself throws. A system call that fails is a `std::system_error` with the
/// call's name; a wrong argument is a `std::invalid_argument`; a call at the wrong time or in the
/// wrong process is a `std::logic_error`. Every future gets an exception object of its own.

namespace prong {

/// The base of prong's errors.
class PRONG_API Error : public std::runtime_error {
public:
    explicit Error(const std::string& what) : std::runtime_error(what) {}
    ~Error() override;
};

/// The pool can run nothing any more: its workers cannot be started, or its supervisor has died.
/// `what()` names the cause. A new pool may be made at once.
class PRONG_API BrokenProcessPool : public Error {
public:
    using Error::Error;
    ~BrokenProcessPool() override;
};

/// The worker died while it was running the task (or reading its arguments, or writing its result).
/// The pool has replaced the worker; no other task is affected.
class PRONG_API WorkerDied : public Error {
public:
    /// `exitcode` is what the process exited with, or -N when signal N killed it.
    WorkerDied(int pid, int exitcode, std::string task);
    ~WorkerDied() override;

    [[nodiscard]] int pid() const noexcept { return pid_; }
    /// What the process exited with, or -N when signal N killed it.
    [[nodiscard]] int exitcode() const noexcept { return exitcode_; }
    /// The signal that killed the worker, or 0 when it exited by itself.
    [[nodiscard]] int signal() const noexcept { return exitcode_ < 0 ? -exitcode_ : 0; }
    /// The task's function and number, such as `parse(std::string) [task 17]`.
    [[nodiscard]] const std::string& task() const noexcept { return task_; }

private:
    int pid_;
    int exitcode_;
    std::string task_;
};

/// `get()` of a future that was cancelled before a worker claimed its task.
class PRONG_API CancelledError : public Error {
public:
    using Error::Error;
    ~CancelledError() override;
};

/// The time given to a wait ran out. The task goes on.
class PRONG_API TimeoutError : public Error {
public:
    using Error::Error;
    ~TimeoutError() override;
};

/// `submit` after `shutdown`.
class PRONG_API PoolShutdown : public Error {
public:
    using Error::Error;
    ~PoolShutdown() override;
};

/// What a `LimitExceeded` ran into.
enum class LimitKind {
    shared_memory, ///< the pool's shared memory, or what the machine has left for it
    pending_tasks, ///< more tasks and results held at once than the pool has records for
};

/// Something needed more than it may have. `what()` says which limit, how much was asked for and
/// how much there is.
class PRONG_API LimitExceeded : public Error {
public:
    LimitExceeded(LimitKind kind, const std::string& what) : Error(what), kind_(kind) {}
    ~LimitExceeded() override;

    [[nodiscard]] LimitKind kind() const noexcept { return kind_; }

private:
    LimitKind kind_;
};

/// Bytes that do not decode to the type that was asked for.
class PRONG_API CodecError : public Error {
public:
    using Error::Error;
    ~CodecError() override;
};

/// An exception that was thrown in another process and cannot be rebuilt here as itself:
/// neither a standard type nor one given to `register_exception`. `what()` is the original's;
/// what was nested in it is nested in this.
class PRONG_API RemoteError : public Error {
public:
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
    using Error::Error;
    ~EndOfFile() override;
};

} // namespace prong
