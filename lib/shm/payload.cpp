#include "shm/payload.hpp"

#include <algorithm>
#include <bit>

namespace prong::shm {
namespace {

// A block's word. Zero: never used. Otherwise the lowest bits say:
//   owned: bits 2..33 hold the owner.
//   free:  bits 2..33 hold the next free block's index + 1, bits 34..63 the touched bytes, in
//   pages.
constexpr std::uint64_t kind_mask = 3;
constexpr std::uint64_t kind_owned = 1;
constexpr std::uint64_t kind_free = 2;

std::uint64_t owned_by(Owner owner) {
    return kind_owned | std::uint64_t{owner} << 2;
}

std::uint64_t free_before(std::uint64_t next, std::uint64_t kept_bytes) {
    return kind_free | next << 2 | (kept_bytes / granule_bytes) << 34;
}

std::uint64_t next_of(std::uint64_t word) {
    return (word & kind_mask) == kind_free ? (word >> 2) & 0xffffffff : 0;
}

std::uint64_t kept_bytes_of(std::uint64_t word) {
    return (word >> 34) * granule_bytes;
}

// The head of a stack: the first free block's index + 1 in the low half, and in the high half a tag
// that changes with every step, so that a head that was seen is not mistaken for a later one.
std::uint64_t successor(std::uint64_t top, std::uint64_t first) {
    return ((top >> 32) + 1) << 32 | first;
}

/// From this size on, returning a free block's pages is worth a system call.
constexpr std::uint64_t large_block_bytes = 64 * 1024;

/// How many touched bytes free blocks keep for the next tasks: enough to echo 64 MiB.
constexpr std::uint64_t kept_bytes_limit = 192 << 20;

/// `trim` returns a span of small blocks that has grown beyond this.
constexpr std::uint64_t trim_bytes = 8 << 20;

/// Bounds the search in case the hints are corrupt.
constexpr int attempts_limit = 1000;

} // namespace

unsigned Payload::Geometry::classes() const {
    return static_cast<unsigned>(std::countr_zero(span_bytes)) - smallest_shift + 1;
}

std::uint64_t Payload::Geometry::table_begin(unsigned size_class) const {
    // blocks(0) + blocks(1) + … is a geometric sum
    const std::uint64_t before = 2 * (blocks(0) - (blocks(0) >> size_class));
    return begin + sizeof(Totals) + classes() * sizeof(Head) + before * sizeof(Word);
}

std::uint64_t Payload::Geometry::spans_begin() const {
    const std::uint64_t tables_end = table_begin(classes());
    return (tables_end + granule_bytes - 1) / granule_bytes * granule_bytes;
}

Payload::Head& Payload::head(unsigned size_class) const {
    const auto heads = reinterpret_cast<Head*>(at(geometry_.begin + sizeof(Totals)));
    return heads[size_class];
}

Payload::Totals& Payload::totals() const {
    return *reinterpret_cast<Totals*>(at(geometry_.begin));
}

Payload::Word& Payload::word(Place place) const {
    return reinterpret_cast<Word*>(at(geometry_.table_begin(place.size_class)))[place.index];
}

std::uint64_t Payload::offset_of(Place place) const {
    return spans_begin_ + place.size_class * geometry_.span_bytes +
           (place.index << (smallest_shift + place.size_class));
}

std::optional<Payload::Place> Payload::find(std::uint64_t offset) const {
    if (offset < spans_begin_ || offset >= end_) return std::nullopt;
    const auto size_class = static_cast<unsigned>((offset - spans_begin_) >> span_shift_);
    const std::uint64_t within = (offset - spans_begin_) & (geometry_.span_bytes - 1);
    const Place place{.size_class = size_class, .index = within >> (smallest_shift + size_class)};
    if (offset_of(place) != offset) return std::nullopt;
    return place;
}

bool Payload::contains(std::uint64_t offset, std::uint64_t length) const noexcept {
    const std::optional<Place> place = find(offset);
    return place && length <= geometry_.largest_bytes &&
           length <= std::uint64_t{1} << (smallest_shift + place->size_class);
}

std::optional<Block> Payload::allocate(std::uint64_t size, Owner owner,
                                       std::atomic<std::uint64_t>& intent) const noexcept {
    if (size > geometry_.largest_bytes) return std::nullopt;
    const std::uint64_t capacity =
        std::max(std::bit_ceil(size), std::uint64_t{1} << smallest_shift);
    const auto size_class = static_cast<unsigned>(std::countr_zero(capacity)) - smallest_shift;
    std::optional<Place> place = recycle(size_class, owner, intent);
    if (!place) place = take_fresh(size_class, owner, intent);
    if (!place) return std::nullopt;
    return Block{.offset = offset_of(*place), .capacity = capacity};
}

std::optional<Payload::Place> Payload::recycle(unsigned size_class, Owner owner,
                                               std::atomic<std::uint64_t>& intent) const noexcept {
    Word& top = head(size_class).top;
    std::uint64_t seen = top.load(std::memory_order_acquire); // pairs with push
    for (int attempt = 0; attempt < attempts_limit; ++attempt) {
        const std::uint64_t first = seen & 0xffffffff;
        if (first == 0 || first > geometry_.blocks(size_class)) return std::nullopt;
        const Place place{.size_class = size_class, .index = first - 1};
        std::uint64_t held = word(place).load(std::memory_order_acquire);
        intent.store(offset_of(place), std::memory_order_relaxed);
        if (!top.compare_exchange_weak(seen, successor(seen, next_of(held)),
                                       std::memory_order_acq_rel, std::memory_order_acquire)) {
            continue;
        }
        if ((held & kind_mask) == kind_free &&
            word(place).compare_exchange_strong(held, owned_by(owner), std::memory_order_acq_rel)) {
            if (const std::uint64_t kept = kept_bytes_of(held))
                totals().kept.fetch_sub(kept, std::memory_order_relaxed);
            return place;
        }
        seen = top.load(std::memory_order_acquire);
    }
    return std::nullopt;
}

std::optional<Payload::Place>
Payload::take_fresh(unsigned size_class, Owner owner,
                    std::atomic<std::uint64_t>& intent) const noexcept {
    Word& fresh = head(size_class).fresh;
    for (int attempt = 0; attempt < attempts_limit; ++attempt) {
        const std::uint64_t index = fresh.load(std::memory_order_relaxed);
        if (index >= geometry_.blocks(size_class)) return std::nullopt;
        const Place place{.size_class = size_class, .index = index};
        std::uint64_t held = word(place).load(std::memory_order_acquire);
        bool taken = false;
        if (held == 0) { // else the intent must not name it: it may hold the owner's result
            intent.store(offset_of(place), std::memory_order_relaxed);
            taken = word(place).compare_exchange_strong(held, owned_by(owner),
                                                        std::memory_order_acq_rel);
        }
        std::uint64_t expected = index; // its owner may have died before this step: help forward
        fresh.compare_exchange_strong(expected, index + 1, std::memory_order_relaxed);
        if (taken) return place;
    }
    return std::nullopt;
}

bool Payload::belongs_to(std::uint64_t offset, Owner owner) const noexcept {
    const std::optional<Place> place = find(offset);
    return place && word(*place).load(std::memory_order_acquire) == owned_by(owner);
}

void Payload::give(std::uint64_t offset, Owner from, Owner to) const noexcept {
    const std::optional<Place> place = find(offset);
    std::uint64_t held = owned_by(from);
    if (place) word(*place).compare_exchange_strong(held, owned_by(to), std::memory_order_acq_rel);
}

void Payload::push(Place place, std::uint64_t kept_bytes) const noexcept {
    Word& top = head(place.size_class).top;
    std::uint64_t seen = top.load(std::memory_order_relaxed);
    do {
        word(place).store(free_before(seen & 0xffffffff, kept_bytes), std::memory_order_relaxed);
    } while (!top.compare_exchange_weak(seen, successor(seen, place.index + 1),
                                        std::memory_order_release, std::memory_order_relaxed));
}

void Payload::free(std::uint64_t offset, std::uint64_t used) const noexcept {
    const std::optional<Place> place = find(offset);
    if (!place || (word(*place).load(std::memory_order_relaxed) & kind_mask) != kind_owned) return;
    const std::uint64_t capacity = std::uint64_t{1} << (smallest_shift + place->size_class);
    std::uint64_t kept = std::min(used, capacity) / granule_bytes * granule_bytes;
    if (capacity >= large_block_bytes) {
        if (totals().kept.fetch_add(kept, std::memory_order_relaxed) + kept > kept_bytes_limit) {
            totals().kept.fetch_sub(kept, std::memory_order_relaxed);
            region_->discard(offset, offset + capacity);
            kept = 0;
        }
    } else {
        kept = 0;
    }
    push(*place, kept);
}

void Payload::discard(std::uint64_t offset) const noexcept {
    const std::optional<Place> place = find(offset);
    if (!place || (word(*place).load(std::memory_order_relaxed) & kind_mask) != kind_owned) return;
    region_->discard(offset, offset + (std::uint64_t{1} << (smallest_shift + place->size_class)));
    push(*place, 0);
}

void Payload::reclaim(std::uint64_t offset, Owner owner) const noexcept {
    if (belongs_to(offset, owner)) discard(offset);
}

void Payload::for_each_owned(Owner owner, const std::function<void(Block)>& visit) const {
    for (unsigned size_class = 0; size_class < geometry_.classes(); ++size_class) {
        for (std::uint64_t index = 0; index < geometry_.blocks(size_class); ++index) {
            const Place place{.size_class = size_class, .index = index};
            const std::uint64_t held = word(place).load(std::memory_order_acquire);
            if (held == 0) break; // neither this block nor a later one was ever used
            if (held == owned_by(owner))
                visit({.offset = offset_of(place),
                       .capacity = std::uint64_t{1} << (smallest_shift + size_class)});
        }
    }
}

void Payload::trim() const noexcept {
    for (unsigned size_class = 0; size_class < geometry_.classes(); ++size_class) {
        const unsigned shift = smallest_shift + size_class;
        const std::uint64_t used = head(size_class).fresh.load(std::memory_order_relaxed);
        if (std::uint64_t{1} << shift >= large_block_bytes || used << shift < trim_bytes) continue;
        reset_class(size_class);
    }
}

void Payload::reset() const noexcept {
    for (unsigned size_class = 0; size_class < geometry_.classes(); ++size_class)
        reset_class(size_class);
    totals().kept.store(0, std::memory_order_relaxed);
}

void Payload::reset_class(unsigned size_class) const noexcept {
    const Place first{.size_class = size_class, .index = 0};
    Head& span = head(size_class);
    // One block beyond `fresh`: its owner may have died before moving `fresh` on.
    const std::uint64_t used = span.fresh.load(std::memory_order_relaxed) + 1;
    // Bounded, because `fresh` may be corrupt.
    const std::uint64_t count = std::min(used, geometry_.blocks(size_class));
    if (word(first).load(std::memory_order_relaxed) == 0) return; // no block was ever used
    span.top.store(successor(span.top.load(std::memory_order_relaxed), 0),
                   std::memory_order_relaxed);
    const std::uint64_t table = geometry_.table_begin(size_class);
    region_->clear(table, table + count * sizeof(Word));
    region_->discard(offset_of(first), offset_of(first) + (count << (smallest_shift + size_class)));
    span.fresh.store(0, std::memory_order_release);
}

Payload::Usage Payload::usage() const noexcept {
    Usage usage{};
    for (unsigned size_class = 0; size_class < geometry_.classes(); ++size_class) {
        const std::uint64_t blocks = geometry_.blocks(size_class);
        std::uint64_t touched = 0;
        // A block beyond `fresh` is in use if its owner died before moving `fresh` on.
        for (; touched < blocks; ++touched) {
            const std::uint64_t held = word({.size_class = size_class, .index = touched}).load();
            if (held == 0) break;
            usage.owned += (held & kind_mask) == kind_owned ? 1 : 0;
            usage.lost += (held & kind_mask) == kind_owned ? 0 : 1;
        }
        std::uint64_t next = head(size_class).top.load() & 0xffffffff;
        for (std::uint64_t i = 0; i < touched && next != 0 && next <= blocks; ++i) {
            const Place place{.size_class = size_class, .index = next - 1};
            ++usage.free;
            --usage.lost;
            next = next_of(word(place).load());
        }
    }
    return usage;
}

} // namespace prong::shm
