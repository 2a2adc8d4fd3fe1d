#include "ring/lifecycle.hpp"

namespace prong::ring {
namespace {

constexpr unsigned verdict_shift = 4;

/// Applies `change(status)` to the record until it returns false or the compare-and-swap succeeds.
/// Returns the status after that.
template <typename Change>
Status change_status(Record& record, Change change) noexcept {
    std::uint64_t word = record.status.load(std::memory_order_acquire);
    for (;;) {
        Status status = Status::unpack(word);
        if (!change(status)) return status;
        if (record.status.compare_exchange_weak(word, status.pack(), std::memory_order_acq_rel,
                                                std::memory_order_acquire)) {
            return status;
        }
    }
}

bool is_same_task(Status one, Status other) {
    return one.generation == other.generation && one.owner == other.owner;
}

Step leave_queue(Record& record, std::uint32_t generation, TaskState end) noexcept {
    bool made = false;
    const Status after = change_status(record, [&](Status& status) {
        made = status.state == TaskState::queued && status.generation == generation;
        if (made) status.state = end;
        return made;
    });
    return {.after = after, .made = made};
}

} // namespace

Step cancel(Record& record, std::uint32_t generation) noexcept {
    return leave_queue(record, generation, TaskState::cancelled);
}

Step request_stop(Record& record, std::uint32_t generation) noexcept {
    bool made = false;
    const Status after = change_status(record, [&](Status& status) {
        const bool is_queued = status.state == TaskState::queued;
        const bool is_unasked =
            status.state == TaskState::running && !status.has(Status::stop_requested);
        made = status.generation == generation && (is_queued || is_unasked);
        if (made && is_queued) status.state = TaskState::cancelled;
        if (made && is_unasked) status.flags |= Status::stop_requested;
        return made;
    });
    return {.after = after, .made = made};
}

Step expire(Record& record, std::uint32_t generation) noexcept {
    return leave_queue(record, generation, TaskState::expired);
}

Status abandon(Record& record, std::uint32_t generation) noexcept {
    return change_status(record, [generation](Status& status) {
        if (is_final(status.state) || status.generation != generation) return false;
        status.flags |= Status::abandoned;
        return true;
    });
}

Status watch(Record& record, std::uint8_t flag) noexcept {
    return change_status(record, [flag](Status& status) {
        if (is_final(status.state) || status.has(flag)) return false;
        status.flags |= flag;
        return true;
    });
}

Status mark_lost(Record& record, std::uint32_t generation) noexcept {
    return change_status(record, [generation](Status& status) {
        if (is_final(status.state) && status.generation == generation) return false;
        status = {.state = TaskState::lost, .flags = status.flags, .generation = generation};
        return true;
    });
}

bool claim(std::span<Record> records, std::uint32_t index, std::uint32_t generation,
           std::uint16_t owner, WorkerIntent& intent, Claim& claimed) noexcept {
    if (index >= records.size()) return false;
    // Written before the claim: the supervisor must find the task after a death between the two
    // steps. The blocks of the previous task belong to the parent by now.
    intent.block.store(0, std::memory_order_relaxed);
    intent.outgrown_block.store(0, std::memory_order_relaxed);
    intent.record.store(std::uint64_t{index} + 1, std::memory_order_release);
    bool made = false;
    const Status after = change_status(records[index], [&](Status& status) {
        made = status.state == TaskState::queued && status.generation == generation;
        if (!made) return false;
        status.state = TaskState::running;
        status.owner = owner;
        return true;
    });
    if (made) claimed = {.record = &records[index], .index = index, .status = after};
    return made;
}

std::optional<Claim> claim_retry(std::span<Record> records, std::uint16_t owner,
                                 WorkerIntent& intent, WorkerIntent& left) noexcept {
    std::uint64_t retry = left.retry.load(std::memory_order_acquire);
    const auto index_and_one = static_cast<std::uint32_t>(retry);
    if (index_and_one == 0) return std::nullopt;
    Claim claimed{};
    const bool made = claim(records, index_and_one - 1, static_cast<std::uint32_t>(retry >> 32),
                            owner, intent, claimed);
    // Cleared after the claim, because a death before it must leave the task to be found. A worker
    // that lost the claim does not clear it: the task may have been left there again.
    if (made || &left == &intent) left.retry.compare_exchange_strong(retry, 0);
    return made ? std::optional(claimed) : std::nullopt;
}

Status finish(const Claim& claim, TaskState end, bool holds_payload) noexcept {
    return change_status(*claim.record, [&](Status& status) {
        const bool may_end = (!status.has(Status::overdue) || end == TaskState::timed_out) &&
                             !(status.has(Status::abandoned) && holds_payload);
        if (status.state != TaskState::running || !is_same_task(status, claim.status) || !may_end)
            return false;
        status.state = end;
        return true;
    });
}

Status mark_overdue(Record& record, Status seen) noexcept {
    return change_status(record, [seen](Status& status) {
        if (status.state != TaskState::running || !is_same_task(status, seen) ||
            status.has(Status::overdue))
            return false;
        status.flags |= Status::overdue | Status::stop_requested;
        return true;
    });
}

Status condemn(Record& record, Status seen, Verdict verdict) noexcept {
    return change_status(record, [seen, verdict](Status& status) {
        if (status.state != TaskState::running || !is_same_task(status, seen)) return false;
        status.state = TaskState::condemned;
        status.flags |= static_cast<std::uint8_t>(static_cast<unsigned>(verdict) << verdict_shift);
        return true;
    });
}

Verdict verdict_of(Status status) noexcept {
    return static_cast<Verdict>(status.flags >> verdict_shift & 3);
}

Record* retried(std::span<Record> records, const WorkerIntent& intent) noexcept {
    const std::uint64_t retry = intent.retry.load(std::memory_order_acquire);
    const auto index_and_one = static_cast<std::uint32_t>(retry);
    if (index_and_one == 0 || index_and_one > records.size()) return nullptr;
    Record& record = records[index_and_one - 1];
    const Status status = status_of(record);
    const bool waits = status.state == TaskState::queued && status.generation == retry >> 32;
    return waits ? &record : nullptr;
}

std::optional<Claim> unfinished(std::span<Record> records, std::uint16_t dead_owner,
                                const WorkerIntent& intent) noexcept {
    const std::uint64_t noted = intent.record.load(std::memory_order_acquire);
    if (noted == 0 || noted > records.size()) return std::nullopt;
    Record& record = records[noted - 1];
    const Status status = status_of(record);
    if (!is_claimed(status.state) || status.owner != dead_owner) return std::nullopt;
    return Claim{
        .record = &record, .index = static_cast<std::uint32_t>(noted - 1), .status = status};
}

Status fail_dead(const Claim& claim, TaskState end, bool holds_payload) noexcept {
    return change_status(*claim.record, [&](Status& status) {
        if (!is_claimed(status.state) || !is_same_task(status, claim.status)) return false;
        if (status.has(Status::abandoned) && holds_payload) return false;
        switch (verdict_of(status)) {
        case Verdict::none:
            status.state = status.has(Status::overdue) ? TaskState::timed_out : end;
            break;
        case Verdict::timeout:
            status.state = TaskState::timed_out;
            break;
        case Verdict::kill:
            status.state = TaskState::killed;
            break;
        case Verdict::limit:
            status.state = TaskState::over_limit;
            break;
        }
        return true;
    });
}

Status requeue(const Claim& claim, WorkerIntent& intent) noexcept {
    intent.retry.store(std::uint64_t{claim.status.generation} << 32 | (claim.index + 1),
                       std::memory_order_release);
    return change_status(*claim.record, [&](Status& status) {
        if (status.state != TaskState::running || !is_same_task(status, claim.status) ||
            status.has(Status::stop_requested))
            return false;
        status.state = TaskState::queued;
        status.owner = 0;
        return true;
    });
}

} // namespace prong::ring
