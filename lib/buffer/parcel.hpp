#pragma once

#include "shm/family_memory.hpp"
#include "sync/cell.hpp"
#include "sync/member.hpp"

#include <prong/detail/parcel.hpp>

#include <sys/types.h>

#include <cstdint>
#include <functional>

/// The steps of a parcel's ownership: see README.md. Each is one compare-and-swap of the word
/// `ParcelWords::holder`, so of several that compete exactly one wins.
///
/// Thread safety: any thread of any process.
namespace prong::buffer {

using detail::ParcelId;
using sync::Cell;
using sync::MemberId;

enum class State : std::uint8_t {
    none,     ///< there is no parcel
    held,     ///< the member's
    task,     ///< pledged by the member to a task
    result,   ///< pledged by the member, a worker, to the parent of its pool
    mail,     ///< pledged by the member to the receiver of a message
    counting, ///< the member counts it as a reference to a buffer, or does so no longer
    gone,     ///< a buffer that has references only
    given,    ///< passed by the member to a process that it has forked, which holds it next
};

/// A parcel's word.
struct Holder {
    State state = State::none;
    /// Of what is held or a result: the parcel is a task's argument, which comes back if the member
    /// dies before the task has ended.
    bool lent = false;
    MemberId member = 0;
    std::uint32_t ticket = 0; ///< 30 bits, which no other pledge of the family has

    [[nodiscard]] std::uint64_t pack() const noexcept {
        return member | std::uint64_t{static_cast<std::uint8_t>(state)} << 30 |
               std::uint64_t{lent} << 33 | std::uint64_t{ticket} << 34;
    }
    static Holder unpack(std::uint64_t word) noexcept {
        return {.state = static_cast<State>(word >> 30 & 7),
                .lent = (word >> 33 & 1) != 0,
                .member = static_cast<MemberId>(word) & sync::member_mask,
                .ticket = static_cast<std::uint32_t>(word >> 34)};
    }
    /// Returns whether both name the same owner. (`lent` ends while the owner holds the parcel.)
    [[nodiscard]] bool is_same(Holder other) const noexcept {
        return state == other.state && member == other.member && ticket == other.ticket;
    }
};

[[nodiscard]] inline Holder holder_of(const Cell& cell) noexcept {
    return Holder::unpack(cell.parcel.holder.load());
}

/// A new parcel, and what this process has written to its cell: other processes may have
/// overwritten that since.
struct NewParcel {
    Cell& cell;
    std::uint64_t holder;
    std::uint64_t data; ///< where the elements lie, or the buffer's cell
};

/// Makes a buffer that this process holds. Throws `Error` if there is no room.
NewParcel make_buffer(std::uint64_t bytes, std::uint64_t element_bytes);

/// Makes a reference to the buffer, which this process owns or has a reference to. `state`: held,
/// or pledged with these words. Throws `Error` if there is no room.
NewParcel make_reference(Cell& target, State state = State::held, std::uint64_t home = 0,
                         std::uint64_t item = 0);

/// A parcel that this process has given to its child.
struct Gift {
    Cell* cell;
    std::uint64_t word;
    pid_t child;
};
/// Remembers the gift until the child has taken it over. If it ends before that, `sweep_if_due`
/// frees the parcel; without memory to remember it, the parcel stays until the program ends.
void note_gift(const Gift& gift) noexcept;

/// Returns the buffer that a reference refers to, or the buffer itself; null if the cell is
/// corrupt.
Cell* target_of(Cell& cell) noexcept;

/// Returns whether the elements of a buffer lie there: the check of what its cell says.
bool has_data(const Cell& buffer, std::uint64_t data, std::uint64_t bytes) noexcept;

/// Returns the parcel's cell; null if there is none there (any more).
Cell* find(const ParcelId& id) noexcept;

/// Takes over what was pledged. Returns the word that names this process as its owner, or 0 if it
/// was not pledged so.
std::uint64_t claim(Cell& cell, const ParcelId& id) noexcept;

/// Frees the parcel if its word is still this one.
bool release(Cell& cell, std::uint64_t holder) noexcept;

/// Ends the claim of the parent on a task's argument: frees it if no living process holds it.
/// `is_result`: unless it is in the task's result.
void settle_argument(const ParcelId& id, bool is_result) noexcept;
/// Frees a task's result that was never decoded.
void settle_result(const ParcelId& id, std::uint64_t home, std::uint64_t item) noexcept;

/// Calls `visit` for each parcel of the family.
void for_each_parcel(const std::function<void(Cell&)>& visit);

/// Frees what dead processes have held. Returns false if there may be more, because other processes
/// were at work.
bool sweep();
/// The same, if a process has died since.
void sweep_if_due() noexcept;

/// Number of a pledge.
std::uint32_t new_ticket() noexcept;

} // namespace prong::buffer
