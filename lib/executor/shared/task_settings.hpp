#pragma once

#include <prong/task_options.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>

namespace prong::executor {

/// How a failed attempt at a task ended its worker.
struct FailedAttempt {
    std::int32_t pid;
    std::int32_t exitcode;
};

/// The options of a task, in shared memory beside its record: nanoseconds on the steady clock, and
/// bytes; 0 means none. The parent writes them before the task is queued. The supervisor writes the
/// failed attempts, the worker the length of the output.
struct alignas(256) TaskSettings {
    std::int64_t timeout_ns; ///< of one attempt; at least 1
    std::int64_t grace_ns;
    std::int64_t deadline_ns; ///< a point in time
    std::int64_t cpu_ns;
    std::uint64_t resident_bytes;
    std::uint64_t address_space_bytes;
    std::uint64_t max_file_bytes;
    std::uint32_t max_retries;
    std::uint8_t capture_output; ///< a bool
    std::uint8_t capture_stack;  ///< a bool
    /// A checksum of all fields before it, which detects that a worker has overwritten them.
    std::uint64_t seal;

    std::atomic<std::uint32_t> deaths;         ///< failed attempts
    std::array<FailedAttempt, 16> last_deaths; ///< the n-th attempt is at n modulo 16

    /// How many bytes at the end of the result or exception are the task's captured output. Written
    /// by the worker before `returned` or `thrown`.
    std::atomic<std::uint64_t> output_length;
};
static_assert(sizeof(TaskSettings) == 256);

/// Writes the options of a task that is submitted now. Throws `std::invalid_argument`.
void write_settings(TaskSettings& settings, const TaskOptions& options);

/// Returns whether the checksum matches. It detects corruption, not forgery.
[[nodiscard]] bool is_intact(const TaskSettings& settings);

/// Returns whether these options need settings: whether they differ from the defaults, apart from
/// the priority.
[[nodiscard]] bool needs_settings(const TaskOptions& options);

/// The alarm of a supervisor that need not check any task.
inline constexpr std::int64_t no_alarm = std::numeric_limits<std::int64_t>::max();

/// Returns when an attempt that starts at `now_ns` must stop; `no_alarm` if never.
[[nodiscard]] std::int64_t stop_time(const TaskSettings& settings, std::int64_t now_ns);

/// Returns whether a stop time is the task's deadline, and not its timeout.
[[nodiscard]] bool is_deadline(const TaskSettings& settings, std::int64_t stop_at_ns);

/// Returns whether the task's deadline has passed.
[[nodiscard]] bool is_too_late(const TaskSettings& settings);

/// How often the supervisor measures what a task uses.
inline constexpr std::chrono::nanoseconds usage_interval = std::chrono::milliseconds(10);

/// Returns whether the supervisor must measure what the task uses.
[[nodiscard]] bool is_metered(const TaskSettings& settings);

} // namespace prong::executor
