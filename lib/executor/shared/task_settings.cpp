#include "executor/shared/task_settings.hpp"

#include "base/clock.hpp"
#include "executor/shared/option_check.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>

namespace prong::executor {
namespace {

constexpr std::int64_t forever = std::numeric_limits<std::int64_t>::max();

/// Returns the nanoseconds for a field in which 0 means none.
std::int64_t field(const Timeout& timeout) {
    return timeout.value() ? std::max<std::int64_t>(timeout.value()->count(), 1) : 0;
}

std::uint64_t seal_of(const TaskSettings& settings) {
    std::uint64_t seal = 1;
    for (const std::uint64_t word :
         {static_cast<std::uint64_t>(settings.timeout_ns),
          static_cast<std::uint64_t>(settings.grace_ns),
          static_cast<std::uint64_t>(settings.deadline_ns),
          static_cast<std::uint64_t>(settings.cpu_ns), settings.resident_bytes,
          settings.address_space_bytes, settings.max_file_bytes,
          std::uint64_t{settings.max_retries} << 16 | std::uint64_t{settings.capture_stack} << 8 |
              settings.capture_output}) {
        seal = std::rotl(seal ^ word, 29) * 0x9e3779b97f4a7c15; // odd: no word is lost
    }
    return seal;
}

} // namespace

bool needs_settings(const TaskOptions& options) {
    const TaskLimits& limits = options.limits;
    return options.timeout.value() || options.deadline.value() || options.max_retries != 0 ||
           options.capture_output || options.capture_stack || limits.memory_bytes ||
           limits.address_space_bytes || limits.cpu_time.value() || limits.max_file_bytes;
}

void write_settings(TaskSettings& settings, const TaskOptions& options) {
    if (options.max_retries < 0)
        throw std::invalid_argument("TaskOptions::max_retries is negative");
    settings.timeout_ns = field(options.timeout);
    settings.grace_ns = options.grace.value() ? options.grace.value()->count() : forever;
    settings.deadline_ns = field(options.deadline);
    if (settings.deadline_ns != 0) {
        const std::int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
        settings.deadline_ns = std::min(settings.deadline_ns, forever - now) + now;
    }
    settings.cpu_ns = field(options.limits.cpu_time);
    settings.resident_bytes =
        at_least_one(options.limits.memory_bytes, "TaskLimits::memory_bytes", 0);
    settings.address_space_bytes =
        at_least_one(options.limits.address_space_bytes, "TaskLimits::address_space_bytes", 0);
    settings.max_file_bytes =
        at_least_one(options.limits.max_file_bytes, "TaskLimits::max_file_bytes", 0);
    settings.max_retries = static_cast<std::uint32_t>(options.max_retries);
    settings.capture_output = options.capture_output ? 1 : 0;
    settings.capture_stack = options.capture_stack ? 1 : 0;
    settings.seal = seal_of(settings);
    settings.deaths.store(0, std::memory_order_relaxed);
}

bool is_intact(const TaskSettings& settings) {
    return settings.seal == seal_of(settings);
}

std::int64_t stop_time(const TaskSettings& settings, std::int64_t now_ns) {
    std::int64_t stop = no_alarm;
    if (settings.timeout_ns != 0 && settings.timeout_ns < no_alarm - now_ns)
        stop = now_ns + settings.timeout_ns;
    if (settings.deadline_ns != 0) stop = std::min(stop, settings.deadline_ns);
    return stop;
}

bool is_deadline(const TaskSettings& settings, std::int64_t stop_at_ns) {
    return settings.deadline_ns != 0 && stop_at_ns == settings.deadline_ns;
}

bool is_metered(const TaskSettings& settings) {
    return settings.resident_bytes != 0 || settings.cpu_ns != 0 || settings.capture_output != 0;
}

bool is_too_late(const TaskSettings& settings) {
    return settings.deadline_ns != 0 && settings.deadline_ns <= base::steady_now_ns();
}

} // namespace prong::executor
