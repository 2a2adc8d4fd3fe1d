#include "executor/shared/shared_state.hpp"

#include "os/rlimit.hpp"
#include "os/usage.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <span>
#include <system_error>
#include <utility>

namespace prong::executor {
namespace {

constexpr std::uint64_t most_ring_entries = 1 << 24;
constexpr std::uint64_t most_records = 1 << 26;
constexpr std::uint64_t least_ring_entries = 1 << 10;
constexpr std::uint64_t least_payload_span = 1 << 16;

} // namespace

struct SharedState::Layout {
    explicit Layout(const Sizes& sizes)
        : slots(add<Control>(1)), wake_words(add<WorkerSlot>(processes_of(sizes))),
          claims(add<ring::WakeWord>(processes_of(sizes))),
          remote_workers(add<RelayClaim>(sizes.claims)), entries(add<RemoteWorker>(sizes.claims)),
          records(add<std::atomic<std::uint64_t>>(ring::lane_count * sizes.ring_entries)),
          settings(add<ring::Record>(sizes.records)),
          payload{.begin = add<TaskSettings>(sizes.records),
                  .span_bytes = sizes.payload_span,
                  .largest_bytes = largest_of(sizes)} {}

    // The parts follow each other: each begins where the previous one ends.
    std::uint64_t end = 0;
    std::uint64_t slots;
    std::uint64_t wake_words;
    std::uint64_t claims;
    std::uint64_t remote_workers;
    std::uint64_t entries;
    std::uint64_t records;
    std::uint64_t settings;
    shm::Payload::Geometry payload;

    static std::uint64_t processes_of(const Sizes& sizes) {
        return sizes.workers + (sizes.claims != 0 ? 1U : 0U);
    }

private:
    /// Where address space is short, limits blocks so that one argument list leaves room for a
    /// result.
    static std::uint64_t largest_of(const Sizes& sizes) {
        if (sizes.payload_most != 0) return std::min(sizes.payload_most, sizes.payload_span);
        const bool is_short = sizes.payload_span < os::physical_memory();
        return is_short ? sizes.payload_span / 4 : sizes.payload_span;
    }

    template <typename T>
    std::uint64_t add(std::uint64_t count) {
        end = (end + count * sizeof(T) + shm::granule_bytes - 1) / shm::granule_bytes *
              shm::granule_bytes;
        return end;
    }
};

SharedState::Sizes SharedState::choose_sizes(unsigned workers, std::uint64_t most_bytes) {
    // Leaves the larger part of the address space to the program.
    constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
    const std::uint64_t address_space = os::address_space_left();
    const std::uint64_t share =
        std::min(address_space == unlimited ? unlimited : address_space / 4, os::largest_file());
    Sizes sizes{.workers = workers,
                .ring_entries = most_ring_entries,
                .records = most_records,
                .payload_span = std::bit_ceil(std::max(os::physical_memory(), most_bytes)),
                .payload_most = most_bytes};
    if (share != unlimited) {
        // Ring and records cost address space only; their pages are touched as they fill.
        sizes.ring_entries =
            std::clamp(std::bit_floor(share / 128 + 1), least_ring_entries, most_ring_entries);
        sizes.records = std::clamp(share / 4 / (sizeof(ring::Record) + sizeof(TaskSettings)),
                                   2 * least_ring_entries, most_records);
        while (sizes.payload_span > least_payload_span && Layout(sizes).payload.end() > share) {
            sizes.payload_span /= 2;
        }
    }
    return sizes;
}

SharedState SharedState::create(Sizes sizes) {
    for (;;) {
        try {
            const Layout layout(sizes);
            return {shm::Region(layout.payload.end()), layout, sizes};
        } catch (const std::system_error&) {
            if (sizes.payload_span <= least_payload_span) throw;
            sizes.payload_span /= 2;
            sizes.records = std::max(sizes.records / 2, 2 * least_ring_entries);
            sizes.ring_entries = std::max(sizes.ring_entries / 2, least_ring_entries);
        }
    }
}

SharedState SharedState::attach(base::UniqueFd memory, const Sizes& sizes) {
    const Layout layout(sizes);
    return {shm::Region(std::move(memory), layout.payload.end()), layout, sizes};
}

SharedState::SharedState(shm::Region memory, const Layout& layout, const Sizes& sizes)
    : region(std::move(memory)),
      records(reinterpret_cast<ring::Record*>(region.base() + layout.records), sizes.records),
      lanes(reinterpret_cast<Control*>(region.base())->lanes,
            {reinterpret_cast<std::atomic<std::uint64_t>*>(region.base() + layout.entries),
             ring::lane_count * sizes.ring_entries},
            records),
      payload(region, layout.payload),
      notifier(reinterpret_cast<Control*>(region.base())->notifier,
               {reinterpret_cast<ring::WakeWord*>(region.base() + layout.wake_words),
                Layout::processes_of(sizes)}),
      loops(reinterpret_cast<Control*>(region.base())->loops),
      control_(reinterpret_cast<Control*>(region.base())),
      slots_(reinterpret_cast<WorkerSlot*>(region.base() + layout.slots),
             Layout::processes_of(sizes)),
      claims_(reinterpret_cast<RelayClaim*>(region.base() + layout.claims), sizes.claims),
      remote_workers_(reinterpret_cast<RemoteWorker*>(region.base() + layout.remote_workers),
                      sizes.claims),
      settings_(reinterpret_cast<TaskSettings*>(region.base() + layout.settings), sizes.records),
      sizes_(sizes), entries_offset_(layout.entries) {}

std::uint32_t SharedState::count_retried() const {
    std::uint32_t count = 0;
    any_retried([&count](const ring::Record&) {
        ++count;
        return false;
    });
    return count;
}

bool SharedState::has_large_arguments(const ring::Record& record) const noexcept {
    const auto arguments = large_bytes_until(ring::read_once(record.arguments_end));
    return arguments && arguments->size() >= shm::granule_bytes;
}

void SharedState::discard_arguments(const ring::Record& record) const noexcept {
    const std::uint64_t end = ring::read_once(record.arguments_end);
    const auto arguments = large_bytes_until(end);
    if (arguments) region.discard(end - arguments->size(), end);
}

bool SharedState::announce_to_waiters(const ring::Record& record,
                                      std::uint8_t flags) const noexcept {
    if ((flags & ring::Status::watched) != 0) os::futex_wake(record.status, os::everyone);
    const bool is_with_others = (flags & ring::Status::watched_with_others) != 0;
    if (is_with_others) notify_completion();
    return loops.task_ended(is_with_others);
}

void SharedState::notify_completion() const noexcept {
    // Sequentially consistent with a thread that is about to sleep: either this sees its count, or
    // it sees the change.
    control_->completions.fetch_add(1);
    if (control_->waiting_for_completions.load() != 0) {
        os::futex_wake(control_->completions, os::everyone);
    }
}

void SharedState::retire_entries() noexcept {
    lanes.retire([this](std::uint64_t first, std::uint64_t last) {
        region.discard(entries_offset_ + first * sizeof(std::uint64_t),
                       entries_offset_ + last * sizeof(std::uint64_t));
    });
}

void SharedState::discard_records(std::uint32_t first, std::uint32_t last) noexcept {
    const auto discard = [this](const auto& begin, const auto& end) {
        region.discard(
            static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&begin) - region.base()),
            static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&end) - region.base()));
    };
    discard(records[first], *(records.data() + last));
    discard(settings_[first], *(settings_.data() + last));
}

} // namespace prong::executor
