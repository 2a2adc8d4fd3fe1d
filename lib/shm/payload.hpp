#pragma once

#include "shm/region.hpp"

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>

namespace prong::shm {

/// The parts of shared memory begin at multiples of this. Pages of some machines are larger.
inline constexpr std::uint64_t granule_bytes = 4096;

/// The owner of a block: a process, by a number that those who share the memory agree on. In a pool
/// it is a worker's index, or the parent.
using Owner = std::uint32_t;
inline constexpr Owner parent_owner = 0xffff;

/// A block of payload space: its offset in the region, never 0, and its size in bytes.
struct Block {
    std::uint64_t offset;
    std::uint64_t capacity;
};

/// Allocates space for arguments and results that do not fit into a record. Parent and workers
/// allocate; the parent frees the results that it has read. Each of them may be killed at any
/// instruction.
///
/// Each power of two has a span of equal blocks, and a table with one word per block. A block is
/// taken by one compare-and-swap of its word from free to its owner's number, so a block never has
/// two owners, and the block of a dead owner is found again. Which free block to try next comes
/// from a stack of free blocks threaded through the words (a tagged Treiber stack), or, when that
/// is empty, from the first block that was never used. The stack is only a hint: a process that
/// dies between popping a block and taking it, or before a freed block is on the stack, loses one
/// block until the next `reset`.
///
/// Free blocks keep the pages that were touched, for the next tasks, until they are trimmed. The
/// first MiB of each span stays warm for ever; all beyond it is counted (`kept_bytes`). To trim a
/// free block, a process marks its word. A marked block is never taken: a process that has popped
/// it says so in the word, and the trimmer puts it back on the stack. So no process waits for the
/// trimmer, and no page of a block that has an owner is returned. A trimmer that dies loses the
/// blocks that it has marked: one large block, or up to a MiB of small ones.
///
/// Thread safety: any thread of any process, but for `release_small` and `reset`.
class Payload {
public:
    static constexpr unsigned smallest_shift = 8; ///< blocks of 256 bytes

    /// The layout of a payload within a region: tables, then a span of `span_bytes` for each size.
    struct Geometry {
        std::uint64_t begin;
        std::uint64_t span_bytes;    ///< a power of two
        std::uint64_t largest_bytes; ///< the largest block that is allocated

        [[nodiscard]] unsigned classes() const;
        [[nodiscard]] std::uint64_t blocks(unsigned size_class) const {
            return span_bytes >> (smallest_shift + size_class);
        }
        [[nodiscard]] std::uint64_t table_begin(unsigned size_class) const;
        [[nodiscard]] std::uint64_t spans_begin() const;
        [[nodiscard]] std::uint64_t end() const { return spans_begin() + classes() * span_bytes; }
    };

    Payload(const Region& region, Geometry geometry)
        : region_(&region), geometry_(geometry), spans_begin_(geometry.spans_begin()),
          end_(geometry.end()),
          span_shift_(static_cast<unsigned>(std::countr_zero(geometry.span_bytes))) {}

    /// Allocates a block of at least `size` bytes for `owner`; returns nothing when no block is
    /// free. The block's offset is stored to `intent` before the block is taken, so that the
    /// supervisor finds it after this process's death.
    std::optional<Block> allocate(std::uint64_t size, Owner owner,
                                  std::atomic<std::uint64_t>& intent) const noexcept;

    /// Returns whether the block at `offset` belongs to `owner`.
    [[nodiscard]] bool belongs_to(std::uint64_t offset, Owner owner) const noexcept;

    /// Makes the block at `offset`, which belongs to `from`, one of `to`.
    void give(std::uint64_t offset, Owner from, Owner to) const noexcept;

    /// Frees a block of which `used` bytes were written, and keeps its pages. A large block whose
    /// pages would exceed the limit of kept bytes returns them to the system.
    void free(std::uint64_t offset, std::uint64_t used) const noexcept;

    /// Frees a block and returns all of its memory to the system; that of a small one as `free`
    /// does.
    void discard(std::uint64_t offset) const noexcept;

    /// Frees the block at `offset` if it still belongs to `owner`, which is dead.
    void reclaim(std::uint64_t offset, Owner owner) const noexcept;

    /// Calls `visit` for each block of an owner.
    void for_each_owned(Owner owner, const std::function<void(Block)>& visit) const;

    /// Returns whether these bytes lie within one block: the check for offsets that another process
    /// wrote.
    [[nodiscard]] bool contains(std::uint64_t offset, std::uint64_t length) const noexcept;

    /// Returns where bytes with this end begin that lie in a block and begin with it; nothing if
    /// `end` is not within a block: the check for ends that another process wrote.
    [[nodiscard]] std::optional<std::uint64_t> begin_of_bytes(std::uint64_t end) const noexcept;

    /// Returns how many touched bytes free blocks keep, beyond those that stay warm for ever.
    [[nodiscard]] std::uint64_t kept_bytes() const noexcept {
        return totals().kept.load(std::memory_order_seq_cst);
    }
    /// Limits the kept bytes of blocks that are freed from now on. Default: 1/16 of a span.
    void limit_kept_bytes(std::uint64_t most) const noexcept {
        totals().limit.store(most, std::memory_order_relaxed);
    }

    /// Up to here kept bytes are not worth a trim.
    static constexpr std::uint64_t idle_bytes = 16 << 20;

    /// Returns true to one caller when more than `idle_bytes` are kept and no trimmer is at work:
    /// the caller wakes the trimmer.
    [[nodiscard]] bool wants_trimmer() const noexcept;

    /// Begins the next epoch. A block is aged when two epochs have begun since it was freed.
    void begin_epoch() const noexcept { totals().epoch.fetch_add(1, std::memory_order_relaxed); }

    /// The progress of a pass over all blocks.
    struct Pass {
        unsigned size_class = 0;
        std::uint64_t index = 0;
        bool has_begun = false;
        std::uint64_t expected = 0; ///< kept bytes, unless others free and allocate
        std::uint64_t left = 0;     ///< kept bytes of the blocks that were passed
        std::uint64_t stuck = 0;    ///< of these, in pages that hold a block with an owner
    };
    enum class Trim : std::uint8_t { aged, all };
    /// Continues a pass that returns the kept bytes of free blocks to the system. Returns after
    /// some milliseconds. Returns whether the pass is complete.
    bool trim(Pass& pass, Trim which) const noexcept;
    /// Returns the kept bytes of all free blocks.
    void trim_all() const noexcept;
    /// Called by a trimmer after a complete pass, before it goes to sleep. Returns false if there
    /// is more to trim, now or later: it stays awake.
    [[nodiscard]] bool end_trimming(const Pass& pass) const noexcept;

    /// Forbids `release_small` and `reset` until `permit_reset`: for a trimmer that works while no
    /// block may have an owner. Returns false if one of them is running.
    [[nodiscard]] bool forbid_reset() const noexcept;
    void permit_reset() const noexcept { totals().reset.store(0, std::memory_order_release); }

    /// Returns the memory of small blocks and of their words to the system after a flood of them.
    /// Call it only while no block has an owner and no process allocates. Does nothing while it is
    /// forbidden.
    void release_small() const noexcept;

    /// Returns all used memory to the system, including blocks that dead processes have lost. Call
    /// it only while no block has an owner and no process allocates. Returns false, and does
    /// nothing, while it is forbidden.
    bool reset() const noexcept;

    /// Counts of the blocks that were ever used, at a moment when no process allocates or frees.
    struct Usage {
        std::uint64_t owned;
        std::uint64_t free; ///< on a stack
        std::uint64_t lost; ///< neither owned nor on a stack, until the next `reset`
    };
    [[nodiscard]] Usage usage() const noexcept;

    [[nodiscard]] std::byte* at(std::uint64_t offset) const { return region_->base() + offset; }
    [[nodiscard]] std::uint64_t largest() const { return geometry_.largest_bytes; }

private:
    using Word = std::atomic<std::uint64_t>;

    /// One for each size, at the start of the payload.
    struct alignas(64) Head {
        Word top;   ///< tag and first free block (payload.cpp)
        Word fresh; ///< the first block that was never used
    };
    struct alignas(64) Totals {
        Word kept; ///< touched bytes in free blocks, as far as they are counted
        // Read often, written rarely:
        alignas(64) Word limit; ///< of `kept`; 0: the default
        Word epoch;
        Word trimming; ///< 1: a trimmer is awake, or was asked to wake up
        Word reset;    ///< 1: `reset` or `release_small` is at work, or forbidden
    };
    struct Place {
        unsigned size_class;
        std::uint64_t index;
    };

    [[nodiscard]] Head& head(unsigned size_class) const;
    [[nodiscard]] Totals& totals() const;
    [[nodiscard]] Word& word(Place place) const;
    [[nodiscard]] std::uint64_t offset_of(Place place) const;
    [[nodiscard]] std::optional<Place> block_around(std::uint64_t offset) const;
    [[nodiscard]] std::optional<Place> find(std::uint64_t offset) const;
    [[nodiscard]] std::optional<Place> take(unsigned size_class, Owner owner,
                                            std::atomic<std::uint64_t>& intent) const noexcept;
    [[nodiscard]] std::optional<Place> recycle(unsigned size_class, Owner owner,
                                               std::atomic<std::uint64_t>& intent) const noexcept;
    [[nodiscard]] std::optional<Place>
    take_fresh(unsigned size_class, Owner owner, std::atomic<std::uint64_t>& intent) const noexcept;
    [[nodiscard]] bool take_popped(Place place, Owner owner) const noexcept;
    void push(Place place, std::uint64_t touched) const noexcept;
    [[nodiscard]] bool precede(Place place, std::uint64_t next) const noexcept;
    [[nodiscard]] static std::uint64_t touched_part(Place place, std::uint64_t used) noexcept;
    void uncount(unsigned size_class, std::uint64_t touched) const noexcept;
    [[nodiscard]] bool is_trimmable(std::uint64_t held, Trim which) const noexcept;
    [[nodiscard]] bool mark(Place place, std::uint64_t held) const noexcept;
    void unmark(Place place, std::uint64_t touched) const noexcept;
    [[nodiscard]] bool mark_page(Place first, std::uint64_t blocks, Trim which) const noexcept;
    std::uint64_t trim_large(Pass& pass, Trim which) const noexcept;
    std::uint64_t trim_small(Pass& pass, Trim which) const noexcept;
    [[nodiscard]] std::uint64_t touched_in(Place first, std::uint64_t blocks) const noexcept;
    [[nodiscard]] bool is_any_marked(unsigned size_class) const noexcept;
    [[nodiscard]] std::uint64_t blocks_used(unsigned size_class) const noexcept;
    void reset_class(unsigned size_class) const noexcept;

    const Region* region_;
    Geometry geometry_;
    // Of the geometry:
    std::uint64_t spans_begin_;
    std::uint64_t end_;
    unsigned span_shift_; ///< of `span_bytes`
};

} // namespace prong::shm
