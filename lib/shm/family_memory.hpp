#pragma once

#include "shm/payload.hpp"
#include "shm/region.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace prong::shm {

/// The memory of a program and everything forked from it: synchronisation objects, queues and
/// shared values lie there. It is mapped once, before a fork, so it has the same address in all
/// processes of the family. Blocks belong to processes, which the layer above numbers.
///
/// Thread safety: any thread of any process.
class FamilyMemory {
public:
    /// Returns the memory of this family; creates it if this process was not forked from one that
    /// has it. Throws `std::system_error`.
    static FamilyMemory& get();

    /// Returns the memory if this process has it, else null.
    static FamilyMemory* find() noexcept;

    /// Creates the memory if the program uses it at all, so that a child forked next has it. A
    /// failure is ignored: the first object reports it.
    static void prepare_fork() noexcept;
    /// Returns whether the program contains the objects that lie in this memory.
    static bool is_used_by_program() noexcept;

    /// What precedes the blocks.
    static constexpr std::uint64_t members_bytes = std::uint64_t{4096} * 128;
    struct alignas(64) Header {
        std::atomic<std::uint64_t> last_stamp;
        std::atomic<std::uint32_t> next_member; ///< the slot to try next
        std::atomic<std::uint32_t> members;     ///< slots that were ever used
        std::atomic<std::uint32_t> deaths;      ///< of members, as far as they were noticed
        std::atomic<std::uint32_t> crashes;     ///< those of them that were no exit with code 0
        std::atomic<std::int64_t> next_trim_ns; ///< on the steady clock
    };

    [[nodiscard]] Header& header() const { return *reinterpret_cast<Header*>(region_.base()); }
    /// Returns the room for the members' slots, zero at first.
    [[nodiscard]] std::byte* members() const { return region_.base() + granule_bytes; }

    /// Returns a number that no other object has, neither in this family nor in another one.
    [[nodiscard]] std::uint64_t new_stamp() const noexcept;
    /// Returns whether the stamp is of this family.
    [[nodiscard]] bool is_own_stamp(std::uint64_t stamp) const noexcept;

    /// Allocates a block for `owner`. Throws `prong::Error` if there is no room.
    Block allocate(std::uint64_t bytes, Owner owner) const;
    [[nodiscard]] bool belongs_to(std::uint64_t offset, Owner owner) const noexcept {
        return payload_.belongs_to(offset, owner);
    }
    /// Gives a block of `from` to `to`.
    void give(std::uint64_t offset, Owner from, Owner to) const noexcept {
        payload_.give(offset, from, to);
    }
    /// Makes all bytes of a block zero. Untouched pages stay untouched.
    void clear(const Block& block) const noexcept {
        region_.clear(block.offset, block.offset + block.capacity);
    }
    /// Frees a block of which `used` bytes were written. From time to time this returns pages to
    /// the system that free blocks have kept for some seconds: no other process does.
    void free(std::uint64_t offset, std::uint64_t used) const noexcept;
    /// Frees a block and returns its memory to the system.
    void discard(std::uint64_t offset) const noexcept { payload_.discard(offset); }
    /// Calls `visit` for each block of an owner.
    void for_each_owned(Owner owner, const std::function<void(Block)>& visit) const {
        payload_.for_each_owned(owner, visit);
    }

    /// Returns whether these bytes lie within one block: the check for numbers from elsewhere.
    [[nodiscard]] bool contains(std::uint64_t offset, std::uint64_t bytes) const noexcept {
        return payload_.contains(offset, bytes);
    }
    /// Returns the size of the largest block.
    [[nodiscard]] std::uint64_t largest() const { return payload_.largest(); }
    [[nodiscard]] std::byte* at(std::uint64_t offset) const { return region_.base() + offset; }
    [[nodiscard]] std::uint64_t offset_of(const void* place) const {
        return static_cast<std::uint64_t>(static_cast<const std::byte*>(place) - region_.base());
    }
    [[nodiscard]] Payload::Usage usage() const noexcept { return payload_.usage(); }

private:
    FamilyMemory(Region region, Payload::Geometry geometry);
    static FamilyMemory* create();
    void trim() const noexcept;

    Region region_;
    Payload payload_;
    std::uint64_t nonce_; ///< the upper bits of all stamps
};

} // namespace prong::shm
