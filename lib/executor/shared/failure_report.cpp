#include "executor/shared/failure_report.hpp"

#include "codec/addresses.hpp"
#include "executor/shared/result_writer.hpp"
#include "shm/memory_limit.hpp"

#include <prong/codec.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>

namespace prong::executor {
namespace {

using detail::decode;
using detail::encode;
using detail::Reader;
using detail::Writer;

// Flags: what follows process and exit code.
constexpr std::uint8_t with_out_of_memory = 1;
constexpr std::uint8_t with_excess = 2;
constexpr std::uint8_t with_earlier = 4;
constexpr std::uint8_t with_frames = 8;
constexpr std::uint8_t with_output = 16;
constexpr std::uint8_t with_missed_deadline = 32;
constexpr std::uint8_t with_host = 64;
constexpr std::uint8_t with_lost_rank = 128;

/// The most bytes that a text takes besides its characters: its length and alignment.
constexpr std::size_t text_overhead = sizeof(std::uint64_t) + detail::wire_alignment;

/// How much of a failure report is written.
enum class Extent { all, with_output_only, in_short };

/// `room`: the most bytes that the writer takes.
void encode_failure_report(Writer& writer, const FailureReport& failure_report, Extent extent,
                           std::size_t room) {
    const bool write_earlier = failure_report.attempts > 1 && extent == Extent::all;
    const bool write_frames = !failure_report.death.frames.empty() && extent == Extent::all;
    const bool write_output =
        !failure_report.death.last_output.empty() && extent != Extent::in_short;
    const bool write_excess = failure_report.excess && extent != Extent::in_short;
    const bool write_host = (failure_report.lost_rank || !failure_report.death.host.empty()) &&
                            extent != Extent::in_short;
    encode(writer, std::int32_t{failure_report.death.pid});
    encode(writer, std::int32_t{failure_report.death.exitcode});
    encode(writer,
           static_cast<std::uint8_t>(
               (failure_report.death.out_of_memory ? with_out_of_memory : 0) |
               (write_excess ? with_excess : 0) | (write_earlier ? with_earlier : 0) |
               (write_frames ? with_frames : 0) | (write_output ? with_output : 0) |
               (failure_report.missed_deadline ? with_missed_deadline : 0) |
               (write_host ? with_host : 0) | (failure_report.lost_rank ? with_lost_rank : 0)));
    if (failure_report.lost_rank) encode(writer, failure_report.lost_rank->rank);
    if (write_host) {
        encode(writer, failure_report.death.host);
        if (failure_report.lost_rank) encode(writer, failure_report.lost_rank->cause);
    }
    if (write_excess) {
        encode(writer, failure_report.excess->kind);
        encode(writer, failure_report.excess->allowed);
        encode(writer, failure_report.excess->used);
    }
    if (write_earlier) {
        encode(writer, failure_report.attempts);
        encode(writer, failure_report.earlier);
    }
    if (write_frames) codec::encode_addresses(writer, failure_report.death.frames);
    if (write_output) {
        const std::string& output = failure_report.death.last_output;
        const std::size_t used = writer.size() + text_overhead;
        const std::size_t kept = std::min(output.size(), room - std::min(room, used));
        // A deep stack must not displace the output.
        if (extent == Extent::all && kept < std::min(output.size(), room / 4))
            throw std::length_error("no room for the output");
        encode(writer, output.substr(output.size() - kept));
    }
}

/// Throws for a signal number that no kernel reports.
std::int32_t checked_exitcode(std::int32_t exitcode) {
    if (exitcode < -std::int32_t{NSIG})
        throw CodecError("the failure report names an unknown signal");
    return exitcode;
}

std::string time_text(std::uint64_t nanoseconds) {
    const double seconds = static_cast<double>(nanoseconds) / 1e9;
    std::array<char, 32> text{};
    if (seconds < 1)
        std::snprintf(text.data(), text.size(), "%.4g ms", seconds * 1e3);
    else
        std::snprintf(text.data(), text.size(), "%.4g s", seconds);
    return text.data();
}

std::string limit_text(const Excess& excess) {
    switch (excess.kind) {
    case LimitKind::memory:
        return "memory: allowed " + shm::size_text(excess.allowed) +
               " more than at its start, used " + shm::size_text(excess.used);
    case LimitKind::address_space:
        return "address space: allowed " + shm::size_text(excess.allowed) +
               " more than at its start, used " + shm::size_text(excess.used) + " and wanted more";
    case LimitKind::cpu_time:
        return "processor time: allowed " + time_text(excess.allowed) + ", used " +
               time_text(excess.used);
    default:
        return "file size: allowed " + shm::size_text(excess.allowed) + ", wanted to write more";
    }
}

std::string worker_text(const Death& death) {
    return "worker " + std::to_string(death.pid) + (death.host.empty() ? "" : " on " + death.host);
}

std::string kill_text(const Death& death, const std::string& task) {
    const std::string text = task + " was killed while it was running";
    return death.pid == 0 ? text : text + ", with its " + worker_text(death);
}

std::string timeout_text(const FailureReport& failure_report, const TaskSettings* settings,
                         const std::string& task) {
    std::string text = task + " ran out of time";
    if (settings != nullptr && settings->timeout_ns != 0 && !failure_report.missed_deadline) {
        text += " (timeout " + time_text(static_cast<std::uint64_t>(settings->timeout_ns)) + ")";
    } else {
        text += " (deadline)";
    }
    if (failure_report.death.pid == 0) return text + " and ended after a stop request";
    return text + " and its " + worker_text(failure_report.death) + " was killed";
}

std::vector<Death> all_deaths(FailureReport& failure_report) {
    std::vector<Death> deaths;
    deaths.reserve(failure_report.earlier.size() + 1);
    for (const FailedAttempt& attempt : failure_report.earlier)
        deaths.push_back({.pid = attempt.pid, .exitcode = attempt.exitcode});
    deaths.push_back(std::move(failure_report.death));
    return deaths;
}

} // namespace

void write_failure_report(const SharedState& state, unsigned owner, ring::Record& record,
                          const FailureReport& failure_report, bool in_short) noexcept {
    ResultWriter writer(state, owner, record);
    const std::size_t room =
        std::max<std::size_t>(state.payload.largest(), writer.room_in_record());
    for (const Extent extent : {Extent::all, Extent::with_output_only, Extent::in_short}) {
        if (in_short && extent != Extent::in_short) continue;
        try {
            writer.start_over();
            encode_failure_report(writer, failure_report, extent, room);
            break;
        } catch (...) { // no shared memory; the short form fits into a valid record
        }
    }
    writer.store();
}

FailureReport read_failure_report(Reader reader) {
    FailureReport failure_report;
    failure_report.death.pid = decode<std::int32_t>(reader);
    failure_report.death.exitcode = checked_exitcode(decode<std::int32_t>(reader));
    const auto what_follows = decode<std::uint8_t>(reader);
    failure_report.death.out_of_memory = (what_follows & with_out_of_memory) != 0;
    failure_report.missed_deadline = (what_follows & with_missed_deadline) != 0;
    if ((what_follows & with_lost_rank) != 0)
        failure_report.lost_rank = {.rank = decode<std::int32_t>(reader), .cause = {}};
    if ((what_follows & with_host) != 0) {
        failure_report.death.host = decode<std::string>(reader);
        if (failure_report.lost_rank) failure_report.lost_rank->cause = decode<std::string>(reader);
    }
    if ((what_follows & with_excess) != 0) {
        const auto kind = decode<LimitKind>(reader);
        const auto allowed = decode<std::uint64_t>(reader);
        failure_report.excess = {
            .kind = kind, .allowed = allowed, .used = decode<std::uint64_t>(reader)};
    }
    if ((what_follows & with_earlier) != 0) {
        failure_report.attempts = decode<std::uint32_t>(reader);
        failure_report.earlier = decode<std::vector<FailedAttempt>>(reader);
        for (const FailedAttempt& attempt : failure_report.earlier)
            checked_exitcode(attempt.exitcode);
    }
    if ((what_follows & with_frames) != 0)
        failure_report.death.frames = codec::decode_addresses(reader);
    if ((what_follows & with_output) != 0)
        failure_report.death.last_output = decode<std::string>(reader);
    return failure_report;
}

LimitExceeded limit_exceeded(const Excess& excess, const std::string& what,
                             std::string last_output) {
    return LimitExceeded(excess.kind, what + " exceeded its limit of " + limit_text(excess),
                         excess.allowed, excess.used, std::move(last_output));
}

std::exception_ptr error_of(ring::TaskState end, FailureReport failure_report,
                            const TaskSettings* settings, const std::string& task) {
    switch (end) {
    case ring::TaskState::timed_out: {
        const std::string text = timeout_text(failure_report, settings, task);
        return std::make_exception_ptr(
            TaskTimeout(text, std::move(failure_report.death.last_output)));
    }
    case ring::TaskState::killed:
        return std::make_exception_ptr(CancelledError(kill_text(failure_report.death, task)));
    case ring::TaskState::over_limit: {
        const Excess excess = failure_report.excess.value_or(Excess{LimitKind::memory, 0, 0});
        return std::make_exception_ptr(
            limit_exceeded(excess, task, std::move(failure_report.death.last_output)));
    }
    default:
        break;
    }
    if (failure_report.lost_rank) {
        return std::make_exception_ptr(RankLost(std::move(failure_report.death.host),
                                                failure_report.lost_rank->rank,
                                                failure_report.lost_rank->cause, task));
    }
    // A task that ended before its last attempt was not retried for another reason.
    const bool is_poisoned = settings != nullptr && failure_report.attempts > settings->max_retries;
    if (failure_report.attempts == 1 || !is_poisoned)
        return std::make_exception_ptr(WorkerDied(std::move(failure_report.death), task));
    const auto attempts = static_cast<int>(failure_report.attempts);
    return std::make_exception_ptr(PoisonedTask(all_deaths(failure_report), attempts, task));
}

} // namespace prong::executor
