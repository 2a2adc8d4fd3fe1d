#pragma once

#include "shm/region.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace prong::shm {

/// The parts of shared memory begin at multiples of this. Pages of some machines are larger.
inline constexpr std::uint64_t granule_bytes = 4096;

/// Who holds a block: a worker's index, or the parent.
using Owner = std::uint32_t;
inline constexpr Owner parent_owner = 0xffff;

/// A piece of payload space: an offset into the region, never 0, and how much fits.
struct Block {
    std::uint64_t offset;
    std::uint64_t capacity;
};

/// Space for arguments and results that do not fit into a record. Parent and workers allocate,
/// the parent frees what results it has read; any of them may be killed at any instruction.
///
/// For each power of two there is a span of equal blocks and a table with one word per block.
/// A block is taken by one compare-and-swap of its word from free to its owner's name, so a block
/// never has two owners and a dead owner's is found again. Which free block to try next comes from
/// a stack of free blocks threaded through the words (a tagged Treiber stack), or, when that is
/// empty, from the first block that was never used. The stack is only a hint: a process that dies
/// between taking a hint and the block, or before a freed block is on the stack, loses one block
/// until the next `reset`.
///
/// Thread safety: any thread of any process, but for `trim` and `reset`.
class Payload {
public:
    static constexpr unsigned smallest_shift = 8; ///< blocks of 256 bytes

    /// Offsets of a payload within a region: tables, then spans of `span_bytes` for each size.
    struct Geometry {
        std::uint64_t begin;
        std::uint64_t span_bytes;    ///< a power of two
        std::uint64_t largest_bytes; ///< what is allocated at most in one piece

        [[nodiscard]] unsigned classes() const;
        [[nodiscard]] std::uint64_t blocks(unsigned size_class) const {
            return span_bytes >> (smallest_shift + size_class);
        }
        [[nodiscard]] std::uint64_t table_begin(unsigned size_class) const;
        [[nodiscard]] std::uint64_t spans_begin() const;
        [[nodiscard]] std::uint64_t end() const { return spans_begin() + classes() * span_bytes; }
    };

    Payload(const Region& region, Geometry geometry) : region_(&region), geometry_(geometry) {}

    /// A block of at least `size` bytes for `owner`, or none when the space is used up. Before a
    /// block is taken its offset is stored to `note`, for whoever cleans up after this process.
    std::optional<Block> allocate(std::uint64_t size, Owner owner,
                                  std::atomic<std::uint64_t>& intent) const noexcept;

    /// Gives a block back, of which `used` bytes were written. Many idle touched bytes are given
    /// back to the system, a few are kept warm.
    void free(std::uint64_t offset, std::uint64_t used) const noexcept;

    /// The same, but gives all of its memory back to the system.
    void discard(std::uint64_t offset) const noexcept;

    /// Frees the block at `offset` if it still belongs to `owner`, who is dead.
    void reclaim(std::uint64_t offset, Owner owner) const noexcept;

    /// Whether these bytes lie within one block; for offsets that another process wrote.
    [[nodiscard]] bool contains(std::uint64_t offset, std::uint64_t length) const noexcept;

    /// Gives everything back to the system after a flood of small blocks. Only while nobody holds a
    /// block and nobody allocates.
    void trim() const noexcept;

    /// Gives all that was ever used back to the system, also what dead processes have lost. Only
    /// while nobody holds a block and nobody allocates.
    void reset() const noexcept;

    /// The blocks that were ever used, at a moment when nobody allocates or frees.
    struct Usage {
        std::uint64_t owned;
        std::uint64_t free; ///< and on a stack
        std::uint64_t lost; ///< until the next `reset`
    };
    [[nodiscard]] Usage usage() const noexcept;

    [[nodiscard]] std::byte* at(std::uint64_t offset) const { return region_->base() + offset; }
    [[nodiscard]] std::uint64_t largest() const { return geometry_.largest_bytes; }

private:
    using Word = std::atomic<std::uint64_t>;

    /// One per size at the start of the payload.
    struct alignas(64) Head {
        Word top;   ///< tag and first free block, see payload.cpp
        Word fresh; ///< blocks from here on were never used
    };
    struct alignas(64) Totals {
        Word kept; ///< touched bytes in free blocks
    };
    struct Place {
        unsigned size_class;
        std::uint64_t index;
    };

    [[nodiscard]] Head& head(unsigned size_class) const;
    [[nodiscard]] Totals& totals() const;
    [[nodiscard]] Word& word(Place place) const;
    [[nodiscard]] std::uint64_t offset_of(Place place) const;
    [[nodiscard]] std::optional<Place> find(std::uint64_t offset) const;
    [[nodiscard]] std::optional<Place> recycle(unsigned size_class, Owner owner,
                                               std::atomic<std::uint64_t>& intent) const noexcept;
    [[nodiscard]] std::optional<Place>
    take_fresh(unsigned size_class, Owner owner, std::atomic<std::uint64_t>& intent) const noexcept;
    void push(Place place, std::uint64_t kept_bytes) const noexcept;
    void reset_class(unsigned size_class) const noexcept;

    const Region* region_;
    Geometry geometry_;
};

} // namespace prong::shm
