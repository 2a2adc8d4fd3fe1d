#pragma once

#include <prong/detail/export.hpp>

#include <memory>
#include <optional>

namespace prong {
class Process;
}

namespace prong::detail {

struct ProcessState;

/// The end of a process for an event loop, also when the `Process` has been destroyed by then.
/// Never blocks.
///
/// Thread safety: any thread, one at a time.
class PRONG_API ProcessEnd {
public:
    /// Throws `std::logic_error` if the process is not a child that was started.
    explicit ProcessEnd(const Process& process);
    ProcessEnd(ProcessEnd&& other) noexcept;
    ProcessEnd& operator=(ProcessEnd&&) = delete;
    ~ProcessEnd();

    /// Reaps the process if it has ended. Returns its exit code then.
    [[nodiscard]] std::optional<int> exitcode() const;
    /// Returns a new descriptor that is readable when the process has ended; -1 if it has. Called
    /// once.
    int watch();

private:
    std::shared_ptr<ProcessState> state_;
    int pidfd_ = -1; ///< a copy, which outlives the state's
};

} // namespace prong::detail
