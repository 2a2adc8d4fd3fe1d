#include "shm/family_memory.hpp"

#include "os/fork_safe_mutex.hpp"
#include "os/rlimit.hpp"
#include "os/seed.hpp"
#include "os/usage.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <bit>
#include <limits>
#include <mutex>
#include <system_error>
#include <utility>

/// Defined in each program that makes objects in this memory, by the headers of these objects
/// (`<prong/detail/shared_object.hpp>`), and in no other.
extern "C" [[gnu::weak]] void prong_uses_family_memory() noexcept;

namespace prong::shm {
namespace {

constexpr std::uint64_t least_span = 1 << 16;

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
            return new FamilyMemory(Region(geometry.end(), "prong-family"), geometry);
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
    if (&prong_uses_family_memory == nullptr) return;
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

} // namespace prong::shm
