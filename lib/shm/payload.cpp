#include "shm/payload.hpp"

#include "os/usage.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <thread>
#include <utility>

namespace prong::shm {
namespace {

// A block's word. Zero: never used. Otherwise the lowest two bits say:
//   owned:  bits 2..33 hold the owner.
//   free:   bits 2..33 hold the next free block's index + 1, bits 34..42 how many 256ths of the
//           block are touched (0: none, or not counted), bits 43..62 the epoch in which it was
//           freed. A 256th of a block of size class n has 2^n bytes.
//   marked: a free block that is being trimmed. Bit 63: it is not on the stack, and the trimmer
//           pushes it.
constexpr std::uint64_t kind_mask = 3;
constexpr std::uint64_t kind_owned = 1;
constexpr std::uint64_t kind_free = 2;
constexpr std::uint64_t kind_marked = kind_free | 1;

constexpr std::uint64_t next_mask = std::uint64_t{0xffffffff} << 2;
constexpr unsigned touched_shift = 34;
constexpr std::uint64_t touched_mask = std::uint64_t{0x1ff} << touched_shift;
constexpr unsigned touched_all = 256;
static_assert(touched_all == 1 << Payload::smallest_shift);
constexpr unsigned epoch_shift = 43;
constexpr std::uint64_t epoch_mask = 0xfffff; ///< once it is shifted
constexpr std::uint64_t unlinked = std::uint64_t{1} << 63;

/// How many epochs must have begun since a block was freed. The first may begin at once.
constexpr std::uint64_t aged_epochs = 2;

std::uint64_t kind_of(std::uint64_t word) {
    return word & kind_mask;
}

std::uint64_t owned_by(Owner owner) {
    return kind_owned | std::uint64_t{owner} << 2;
}

std::uint64_t free_before(std::uint64_t next, std::uint64_t touched, std::uint64_t epoch) {
    return kind_free | next << 2 | touched << touched_shift | (epoch & epoch_mask) << epoch_shift;
}

std::uint64_t next_of(std::uint64_t word) {
    return kind_of(word) == kind_free || kind_of(word) == kind_marked ? (word & next_mask) >> 2 : 0;
}

std::uint64_t touched_of(std::uint64_t word) {
    return (word & touched_mask) >> touched_shift;
}

std::uint64_t epochs_since(std::uint64_t word, std::uint64_t epoch) {
    return (epoch - (word >> epoch_shift)) & epoch_mask;
}

// The head of a stack: the first free block's index + 1 in the low half, and in the high half a tag
// that changes with every step, so that a head that was seen is not mistaken for a later one.
std::uint64_t successor(std::uint64_t top, std::uint64_t first) {
    return ((top >> 32) + 1) << 32 | first;
}

/// From this size on, returning a single block's pages is worth a system call.
constexpr unsigned large_shift = 16;

/// Blocks within the first bytes of each span stay warm, and are not counted.
constexpr std::uint64_t resident_bytes = 1 << 20;

/// `release_small` releases a span of small blocks that has grown beyond this.
constexpr std::uint64_t small_bytes = 8 << 20;

/// What one step of a trim returns to the system, which takes some 3 ms. Each block that it passes
/// counts, too.
constexpr std::uint64_t step_bytes = 16 << 20;
constexpr std::uint64_t look_bytes = 16;

/// How many bytes of small blocks are marked at a time.
constexpr std::uint64_t run_bytes = 1 << 20;

/// How often, and how long each time, an allocation waits for blocks that are being trimmed.
constexpr int trimmer_waits = 1000;
constexpr std::chrono::microseconds trimmer_wait{100};

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

/// Returns the block that this byte lies in.
std::optional<Payload::Place> Payload::block_around(std::uint64_t offset) const {
    if (offset < spans_begin_ || offset >= end_) return std::nullopt;
    const auto size_class = static_cast<unsigned>((offset - spans_begin_) >> span_shift_);
    const std::uint64_t within = (offset - spans_begin_) & (geometry_.span_bytes - 1);
    return Place{.size_class = size_class, .index = within >> (smallest_shift + size_class)};
}

/// Returns the block that begins there.
std::optional<Payload::Place> Payload::find(std::uint64_t offset) const {
    const std::optional<Place> place = block_around(offset);
    return place && offset_of(*place) == offset ? place : std::nullopt;
}

bool Payload::contains(std::uint64_t offset, std::uint64_t length) const noexcept {
    const std::optional<Place> place = find(offset);
    return place && length <= geometry_.largest_bytes &&
           length <= std::uint64_t{1} << (smallest_shift + place->size_class);
}

std::optional<std::uint64_t> Payload::begin_of_bytes(std::uint64_t end) const noexcept {
    const std::optional<Place> place = block_around(end - 1);
    if (!place) return std::nullopt;
    const std::uint64_t begin = offset_of(*place);
    return end - begin <= geometry_.largest_bytes ? std::optional(begin) : std::nullopt;
}

std::optional<Block> Payload::allocate(std::uint64_t size, Owner owner,
                                       std::atomic<std::uint64_t>& intent) const noexcept {
    if (size > geometry_.largest_bytes) return std::nullopt;
    const std::uint64_t capacity =
        std::max(std::bit_ceil(size), std::uint64_t{1} << smallest_shift);
    const auto size_class = static_cast<unsigned>(std::countr_zero(capacity)) - smallest_shift;
    std::optional<Place> place = take(size_class, owner, intent);
    for (int wait = 0; !place && wait < trimmer_waits; ++wait) {
        const bool may_come_back = is_any_marked(size_class);
        place = take(size_class, owner, intent);
        if (place || !may_come_back) break;
        std::this_thread::sleep_for(trimmer_wait);
    }
    if (!place) return std::nullopt;
    return Block{.offset = offset_of(*place), .capacity = capacity};
}

std::optional<Payload::Place> Payload::take(unsigned size_class, Owner owner,
                                            std::atomic<std::uint64_t>& intent) const noexcept {
    const std::optional<Place> place = recycle(size_class, owner, intent);
    return place ? place : take_fresh(size_class, owner, intent);
}

std::optional<Payload::Place> Payload::recycle(unsigned size_class, Owner owner,
                                               std::atomic<std::uint64_t>& intent) const noexcept {
    Word& top = head(size_class).top;
    std::uint64_t seen = top.load(std::memory_order_acquire); // pairs with push
    for (int attempt = 0; attempt < attempts_limit; ++attempt) {
        const std::uint64_t first = seen & 0xffffffff;
        if (first == 0 || first > geometry_.blocks(size_class)) return std::nullopt;
        const Place place{.size_class = size_class, .index = first - 1};
        const std::uint64_t held = word(place).load(std::memory_order_acquire);
        intent.store(offset_of(place), std::memory_order_relaxed);
        if (!top.compare_exchange_weak(seen, successor(seen, next_of(held)),
                                       std::memory_order_acq_rel, std::memory_order_acquire)) {
            continue;
        }
        if (take_popped(place, owner)) return place;
        seen = top.load(std::memory_order_acquire);
    }
    return std::nullopt;
}

/// Takes a block that this process has popped; if it is marked, leaves it to the trimmer.
bool Payload::take_popped(Place place, Owner owner) const noexcept {
    std::uint64_t held = word(place).load(std::memory_order_acquire);
    for (int attempt = 0; attempt < attempts_limit; ++attempt) {
        const bool is_free = kind_of(held) == kind_free;
        if (!is_free && kind_of(held) != kind_marked) return false; // corrupt
        const std::uint64_t next = is_free ? owned_by(owner) : held | unlinked;
        if (!word(place).compare_exchange_strong(held, next, std::memory_order_acq_rel)) continue;
        if (is_free) uncount(place.size_class, touched_of(held));
        return is_free;
    }
    return false;
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

/// Puts a block of this process on the stack.
void Payload::push(Place place, std::uint64_t touched) const noexcept {
    Word& top = head(place.size_class).top;
    const std::uint64_t epoch = totals().epoch.load(std::memory_order_relaxed);
    std::uint64_t seen = top.load(std::memory_order_relaxed);
    // From here on the block may be marked.
    word(place).store(free_before(seen & 0xffffffff, touched, epoch), std::memory_order_release);
    while (!top.compare_exchange_weak(seen, successor(seen, place.index + 1),
                                      std::memory_order_release, std::memory_order_relaxed)) {
        if (!precede(place, seen & 0xffffffff)) return;
    }
}

/// Changes the successor of a free block that is not on the stack yet; if it is marked, leaves it
/// to the trimmer and returns false.
bool Payload::precede(Place place, std::uint64_t next) const noexcept {
    std::uint64_t held = word(place).load(std::memory_order_relaxed);
    for (int attempt = 0; attempt < attempts_limit; ++attempt) {
        const bool is_free = kind_of(held) == kind_free;
        if (!is_free && kind_of(held) != kind_marked) return false; // corrupt
        const std::uint64_t after = is_free ? (held & ~next_mask) | next << 2 : held | unlinked;
        if (word(place).compare_exchange_strong(held, after, std::memory_order_acq_rel))
            return is_free;
    }
    return false;
}

/// Returns how much of a block is touched if `used` bytes of it are, in 256ths; 0 if the block is
/// not counted.
std::uint64_t Payload::touched_part(Place place, std::uint64_t used) noexcept {
    if ((place.index + 1) << (smallest_shift + place.size_class) <= resident_bytes) return 0;
    const std::uint64_t part = std::uint64_t{1} << place.size_class;
    return std::clamp<std::uint64_t>((used + part - 1) / part, 1, touched_all);
}

void Payload::uncount(unsigned size_class, std::uint64_t touched) const noexcept {
    if (touched != 0) totals().kept.fetch_sub(touched << size_class, std::memory_order_relaxed);
}

void Payload::free(std::uint64_t offset, std::uint64_t used) const noexcept {
    const std::optional<Place> place = find(offset);
    if (!place || kind_of(word(*place).load(std::memory_order_relaxed)) != kind_owned) return;
    const unsigned shift = smallest_shift + place->size_class;
    std::uint64_t touched = touched_part(*place, used);
    if (touched != 0) {
        const std::uint64_t bytes = touched << place->size_class;
        const std::uint64_t limit = totals().limit.load(std::memory_order_relaxed);
        const std::uint64_t most = limit != 0 ? limit : geometry_.span_bytes / 16;
        const std::uint64_t kept = totals().kept.fetch_add(bytes) + bytes;
        if (shift >= large_shift && kept > most) {
            region_->discard(offset, offset + (std::uint64_t{1} << shift));
            uncount(place->size_class, std::exchange(touched, 0));
        }
    }
    push(*place, touched);
}

void Payload::discard(std::uint64_t offset) const noexcept {
    const std::optional<Place> place = find(offset);
    if (!place || kind_of(word(*place).load(std::memory_order_relaxed)) != kind_owned) return;
    const unsigned shift = smallest_shift + place->size_class;
    const std::uint64_t capacity = std::uint64_t{1} << shift;
    if (shift < large_shift) return free(offset, capacity);
    region_->discard(offset, offset + capacity);
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

// Trimming

bool Payload::wants_trimmer() const noexcept {
    // Sequentially consistent with `end_trimming`: either that sees the bytes, or this sees 0.
    return kept_bytes() > idle_bytes && totals().trimming.load() == 0 &&
           totals().trimming.exchange(1) == 0;
}

bool Payload::end_trimming(const Pass& pass) const noexcept {
    totals().trimming.store(0);
    if (kept_bytes() <= pass.stuck + idle_bytes) return true;
    totals().trimming.store(1);
    return false;
}

bool Payload::trim(Pass& pass, Trim which) const noexcept {
    if (!std::exchange(pass.has_begun, true)) pass.expected = kept_bytes();
    std::uint64_t work = 0;
    for (; pass.size_class < geometry_.classes(); ++pass.size_class, pass.index = 0) {
        const unsigned shift = smallest_shift + pass.size_class;
        const std::uint64_t end = blocks_used(pass.size_class);
        pass.index = std::max(pass.index, resident_bytes >> shift);
        while (pass.index < end) {
            if (work >= step_bytes) return false;
            // Neither this block nor a later one was ever used, whatever the head says.
            if (word({pass.size_class, pass.index}).load(std::memory_order_relaxed) == 0) break;
            work += shift >= large_shift ? trim_large(pass, which) : trim_small(pass, which);
            work += look_bytes;
        }
    }
    // A process that died between its two steps has left a wrong count.
    totals().kept.compare_exchange_strong(pass.expected, pass.left);
    return true;
}

void Payload::trim_all() const noexcept {
    for (Pass pass; !trim(pass, Trim::all);) {
    }
}

/// Returns whether a block has pages to return.
bool Payload::is_trimmable(std::uint64_t held, Trim which) const noexcept {
    if (kind_of(held) != kind_free || touched_of(held) == 0) return false;
    const std::uint64_t epoch = totals().epoch.load(std::memory_order_relaxed);
    return which == Trim::all || epochs_since(held, epoch) >= aged_epochs;
}

/// Marks a free block, if its word is still this one.
bool Payload::mark(Place place, std::uint64_t held) const noexcept {
    return word(place).compare_exchange_strong(held, held | kind_marked, std::memory_order_acq_rel);
}

/// Ends the mark of a block of which this much is touched by now.
void Payload::unmark(Place place, std::uint64_t touched) const noexcept {
    std::uint64_t held = word(place).load(std::memory_order_relaxed);
    for (int attempt = 0; attempt < attempts_limit && kind_of(held) == kind_marked; ++attempt) {
        const std::uint64_t after =
            (held & ~(kind_mask | touched_mask)) | kind_free | touched << touched_shift;
        if ((held & unlinked) != 0) return push(place, touched);
        if (word(place).compare_exchange_strong(held, after, std::memory_order_acq_rel)) return;
    }
}

/// Trims at most `step_bytes` of a large block, from its end: the rest stays touched, and the block
/// is free again in between. Moves the pass on from a block that is done.
std::uint64_t Payload::trim_large(Pass& pass, Trim which) const noexcept {
    const Place place{.size_class = pass.size_class, .index = pass.index};
    const std::uint64_t held = word(place).load(std::memory_order_acquire);
    const std::uint64_t before = touched_of(held);
    if (!is_trimmable(held, which) || !mark(place, held)) {
        if (kind_of(held) == kind_free) pass.left += before << place.size_class;
        ++pass.index;
        return 0;
    }
    const std::uint64_t most = std::max<std::uint64_t>(step_bytes >> place.size_class, 1);
    const std::uint64_t after = before - std::min(before, most);
    region_->discard(offset_of(place) + (after << place.size_class),
                     offset_of(place) + (std::uint64_t{1} << (smallest_shift + place.size_class)));
    unmark(place, after);
    uncount(place.size_class, before - after);
    pass.expected -= (before - after) << place.size_class;
    return (before - after) << place.size_class;
}

/// Trims the small blocks from here to the first page that cannot be trimmed, together. Moves the
/// pass on.
std::uint64_t Payload::trim_small(Pass& pass, Trim which) const noexcept {
    const unsigned size_class = pass.size_class;
    const unsigned shift = smallest_shift + size_class;
    const std::uint64_t page_blocks = std::max<std::uint64_t>(os::page_bytes() >> shift, 1);
    const std::uint64_t first = pass.index;
    const std::uint64_t end = std::min(blocks_used(size_class), first + (run_bytes >> shift));
    std::uint64_t last = first;
    while (last + page_blocks <= end && mark_page({size_class, last}, page_blocks, which))
        last += page_blocks;
    pass.index = std::max(last, first + page_blocks);
    if (last == first) {
        for (std::uint64_t index = first; index < std::min(pass.index, end); ++index) {
            const std::uint64_t held = word({size_class, index}).load(std::memory_order_relaxed);
            if (kind_of(held) != kind_free) continue;
            pass.left += touched_of(held) << size_class;
            if (is_trimmable(held, which)) pass.stuck += touched_of(held) << size_class;
        }
        return page_blocks * look_bytes;
    }
    const std::uint64_t touched = touched_in({size_class, first}, last - first);
    region_->discard(offset_of({size_class, first}), offset_of({size_class, last}));
    for (std::uint64_t index = first; index < last; ++index) unmark({size_class, index}, 0);
    uncount(size_class, touched);
    pass.expected -= touched << size_class;
    return (last - first) << shift;
}

/// Marks all blocks of a page, if all of them are free and there is something to return.
bool Payload::mark_page(Place first, std::uint64_t blocks, Trim which) const noexcept {
    bool is_touched = false;
    for (std::uint64_t i = 0; i < blocks; ++i) {
        const std::uint64_t held =
            word({first.size_class, first.index + i}).load(std::memory_order_relaxed);
        if (kind_of(held) != kind_free) return false;
        if (touched_of(held) == 0) continue;
        if (!is_trimmable(held, which)) return false;
        is_touched = true;
    }
    if (!is_touched) return false;
    for (std::uint64_t i = 0; i < blocks; ++i) {
        const Place place{first.size_class, first.index + i};
        const std::uint64_t held = word(place).load(std::memory_order_acquire);
        if (kind_of(held) == kind_free && mark(place, held)) continue;
        for (std::uint64_t other = 0; other < i; ++other) {
            const Place marked{first.size_class, first.index + other};
            unmark(marked, touched_of(word(marked).load(std::memory_order_relaxed)));
        }
        return false;
    }
    return true;
}

/// Returns how much of these blocks is touched while they are free, in 256ths of a block.
std::uint64_t Payload::touched_in(Place first, std::uint64_t blocks) const noexcept {
    std::uint64_t touched = 0;
    for (std::uint64_t i = 0; i < blocks; ++i) {
        const std::uint64_t held =
            word({first.size_class, first.index + i}).load(std::memory_order_relaxed);
        if (held == 0) break; // nor was a later one used
        if (kind_of(held) == kind_free || kind_of(held) == kind_marked) touched += touched_of(held);
    }
    return touched;
}

bool Payload::is_any_marked(unsigned size_class) const noexcept {
    for (std::uint64_t index = 0; index < blocks_used(size_class); ++index) {
        const std::uint64_t held = word({size_class, index}).load(std::memory_order_relaxed);
        if (held == 0) break; // nor was a later one used
        if (kind_of(held) == kind_marked) return true;
    }
    return false;
}

/// Returns how many blocks of a size were ever used.
std::uint64_t Payload::blocks_used(unsigned size_class) const noexcept {
    // One block beyond `fresh`: its owner may have died before moving `fresh` on. Bounded, because
    // `fresh` may be corrupt.
    const std::uint64_t fresh = head(size_class).fresh.load(std::memory_order_relaxed);
    return std::min(fresh, geometry_.blocks(size_class) - 1) + 1;
}

// Resetting

bool Payload::forbid_reset() const noexcept {
    return totals().reset.exchange(1, std::memory_order_acquire) == 0;
}

void Payload::release_small() const noexcept {
    if (!forbid_reset()) return;
    for (unsigned size_class = 0; smallest_shift + size_class < large_shift; ++size_class) {
        const std::uint64_t used = head(size_class).fresh.load(std::memory_order_relaxed);
        if (used << (smallest_shift + size_class) >= small_bytes) reset_class(size_class);
    }
    permit_reset();
}

bool Payload::reset() const noexcept {
    if (!forbid_reset()) return false;
    for (unsigned size_class = 0; size_class < geometry_.classes(); ++size_class)
        reset_class(size_class);
    totals().kept.store(0, std::memory_order_relaxed);
    permit_reset();
    return true;
}

void Payload::reset_class(unsigned size_class) const noexcept {
    const Place first{.size_class = size_class, .index = 0};
    Head& span = head(size_class);
    const std::uint64_t count = blocks_used(size_class);
    if (word(first).load(std::memory_order_relaxed) == 0) return; // no block was ever used
    span.top.store(successor(span.top.load(std::memory_order_relaxed), 0),
                   std::memory_order_relaxed);
    uncount(size_class, touched_in(first, count));
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
            usage.owned += kind_of(held) == kind_owned ? 1U : 0U;
            usage.lost += kind_of(held) == kind_owned ? 0U : 1U;
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
