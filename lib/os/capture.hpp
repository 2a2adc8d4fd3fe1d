#pragma once

#include "base/fd.hpp"
#include "os/descriptor.hpp"

#include <cstddef>
#include <string>

/// Standard output and error of a worker.
namespace prong::os {

/// From now on whole lines are written at once, so that those of several workers do not mix within
/// a line: up to 64 KiB into a file or terminal, up to 4 KiB (PIPE_BUF) into a pipe.
void write_whole_lines() noexcept;

/// Writes out what the task has left without an end of line.
void flush_task_output() noexcept;

/// The same in a signal handler.
void flush_lines_in_crash() noexcept;

/// Where a worker's output goes while it is captured: memory of the supervisor's, so that it
/// is there when the worker is dead. Not valid if the supervisor may have hardly more descriptors.
base::UniqueFd make_capture() noexcept;

/// Forgets what it holds: the next task's death must not be told with it.
void clear_capture(int capture) noexcept;

/// Empties the capture and sends standard output and error there while it lives. Captures nothing
/// if user code has closed the capture's descriptor. Afterwards each stream goes where it went
/// before; to `/dev/null` if it was closed or user code has closed the copy that was to be
/// restored.
///
/// Thread safety: one at a time in a process.
class OutputCapture {
public:
    explicit OutputCapture(const GuardedFd& capture) noexcept;
    ~OutputCapture();
    OutputCapture(const OutputCapture&) = delete;
    OutputCapture& operator=(const OutputCapture&) = delete;

private:
    bool captures_ = false;
    GuardedFd output_;
    GuardedFd error_;
};

/// The end of what has been captured; empty for a descriptor that is none.
std::string captured_output(int capture);

/// Gives the memory of all but the end back, if it has become much.
void trim_capture(int capture) noexcept;

} // namespace prong::os
