#pragma once

#include "base/fd.hpp"
#include "os/descriptor.hpp"

#include <cstddef>
#include <string>

/// The standard output and error of a worker, line by line or captured.
namespace prong::os {

/// Buffers standard output and error by line, so that lines of several workers do not mix: up to 64
/// KiB of a line into a file or terminal, up to 4 KiB (PIPE_BUF) into a pipe.
void write_whole_lines() noexcept;

/// Writes out what the task has left without an end of line.
void flush_task_output() noexcept;

/// Does the same in a signal handler.
void flush_lines_in_crash() noexcept;

/// Creates the memory file for a worker's captured output. The supervisor owns it, so it outlives
/// the worker. Returns an invalid descriptor if the supervisor is about to run out of descriptors.
base::UniqueFd make_capture() noexcept;

/// Empties the capture, so that the next task's failure report does not include this task's output.
void clear_capture(int capture) noexcept;

/// Empties the capture and redirects standard output and error to it while the object lives.
/// Captures nothing if user code has closed the capture's descriptor. Afterwards each stream goes
/// where it went before, or to `/dev/null` if it was closed or user code has closed the saved copy.
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

/// Returns the last 64 KiB of the captured output; nothing for an invalid descriptor.
std::string captured_output(int capture);

/// Returns the memory of all but the last 64 KiB to the system, if the capture is larger than 16
/// MiB.
void trim_capture(int capture) noexcept;

} // namespace prong::os
