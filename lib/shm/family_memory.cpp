#include "shm/family_memory.hpp"

#include "base/clock.hpp"
#include "os/fork_safe_mutex.hpp"
#include "os/rlimit.hpp"
#include "os/seed.hpp"
#include "os/usage.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <mutex>
#include <system_error>
#include <utility>

namespace prong::shm {
namespace {

constexpr std::uint64_t least_span = 1 << 16;

/// What free blocks may keep: this much may stay until the program ends, if no process frees a
/// block any more.
constexpr std::uint64_t most_kept_bytes = 192 << 20;

/// A block that was not needed for two to three intervals is trimmed.
constexpr std::chrono::nanoseconds trim_interval = std::chrono::seconds(2);
/// When a pass over the blocks that has ended early is repeated.
constexpr std::chrono::nanoseconds trim_delay = std::chrono::milliseconds(50);

/// Bits of a stamp that count; those above are random for each family.
constexpr unsigned stamp_counter_bits = 40;

// Never destroyed: static objects of the program may lie in the memory.
constinit os::ForkSafeMutex creation;
constinit std::atomic<FamilyMemory*> the_memory{nullptr};

Payload::Geometry geometry_of(std::uint64_t span) {
    return {.begin = granule_bytes + FamilyMemory::members_bytes,
            .span_bytes = span,
            .largest_bytes = span};
}

/// Returns a size for the spans that leaves the larger part of the address space to the program.
std::uint64_t choose_span() {
    constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();
    const std::uint64_t address_space = os::address_space_left();
    const std::uint64_t share =
        std::min(address_space == unlimited ? unlimited : address_space / 4, os::largest_file());
    std::uint64_t span = std::bit_ceil(os::physical_memory());
    while (span > least_span && geometry_of(span).end() > share) span /= 2;
    return span;
}

} // namespace

FamilyMemory::FamilyMemory(Region region, Payload::Geometry geometry)
    : region_(std::move(region)), payload_(region_, geometry),
      nonce_(os::fresh_seed() << stamp_counter_bits) {
    static_cast<void>(region_.release_descriptor()); // the mapping is enough
}

FamilyMemory* FamilyMemory::create() {
    for (std::uint64_t span = choose_span();; span /= 2) {
        try {
            const Payload::Geometry geometry = geometry_of(span);
            auto* const memory = new FamilyMemory(Region(geometry.end(), "prong-family"), geometry);
            memory->payload_.limit_kept_bytes(most_kept_bytes);
            return memory;
        } catch (const std::system_error&) {
            if (span <= least_span) throw;
        }
    }
}

FamilyMemory* FamilyMemory::find() noexcept {
    return the_memory.load(std::memory_order_acquire);
}

FamilyMemory& FamilyMemory::get() {
    if (FamilyMemory* const memory = find()) return *memory;
    const std::lock_guard lock(creation);
    if (FamilyMemory* const memory = find()) return *memory;
    FamilyMemory* const memory = create();
    the_memory.store(memory, std::memory_order_release);
    return *memory;
}

void FamilyMemory::prepare_fork() noexcept {
    if (!is_used_by_program()) return;
    try {
        get();
    } catch (const std::exception&) { // see the declaration
    }
}

std::uint64_t FamilyMemory::new_stamp() const noexcept {
    return nonce_ | (header().last_stamp.fetch_add(1, std::memory_order_relaxed) + 1);
}

bool FamilyMemory::is_own_stamp(std::uint64_t stamp) const noexcept {
    return stamp >> stamp_counter_bits == nonce_ >> stamp_counter_bits;
}

Block FamilyMemory::allocate(std::uint64_t bytes, Owner owner) const {
    std::atomic<std::uint64_t> unused{0}; // the blocks of a dead owner are found by its number
    if (const auto block = payload_.allocate(bytes, owner, unused)) return *block;
    throw Error(
        "there is no room for " + std::to_string(bytes) +
        " bytes in the memory that this program shares with its processes: end objects that "
        "are not needed any more, or allow more address space (RLIMIT_AS) or larger files "
        "(RLIMIT_FSIZE)");
}

void FamilyMemory::free(std::uint64_t offset, std::uint64_t used) const noexcept {
    payload_.free(offset, used);
    if (payload_.kept_bytes() > Payload::idle_bytes) trim();
}

void FamilyMemory::trim() const noexcept {
    const std::int64_t now = base::coarse_now_ns();
    std::int64_t due = header().next_trim_ns.load(std::memory_order_relaxed);
    if (now < due || !header().next_trim_ns.compare_exchange_strong(
                         due, now + trim_interval.count(), std::memory_order_relaxed)) {
        return;
    }
    Payload::Pass pass;
    if (payload_.trim(pass, Payload::Trim::aged))
        payload_.begin_epoch();
    else
        header().next_trim_ns.store(now + trim_delay.count(), std::memory_order_relaxed);
}

} // namespace prong::shm
