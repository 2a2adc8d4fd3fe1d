#pragma once

#include "ring/ring.hpp"
#include "shm/flag.hpp"

#include <array>

namespace prong::ring {

/// One queue for each priority. Most pools use only the normal one, and look at no other.
enum class Lane : std::uint8_t { normal, high, low };
inline constexpr std::size_t lane_count = 3;

/// The words of the lanes in shared memory.
struct LaneWords {
    /// Set by the parent when a lane other than the normal one is used. Workers look at all lanes
    /// then.
    alignas(128) shm::Flag several;
    alignas(128) RoomWords room;
    std::array<Cursor, lane_count> cursors;
};

/// Three rings over the same records. Workers take the high lane first. Every fourth time they look
/// into the normal lane before it, every sixteenth time into the low one, so no lane starves.
///
/// Thread and process safety: like `Ring`.
class Lanes {
public:
    /// `entries`: the entries of all lanes in turn; each lane has a power of two.
    Lanes(LaneWords& words, std::span<std::atomic<std::uint64_t>> entries,
          std::span<Record> records)
        : words_(&words),
          rings_{Ring(words.cursors[0], words.room, share(entries, 0), records, 0),
                 Ring(words.cursors[1], words.room, share(entries, 1), records, 1),
                 Ring(words.cursors[2], words.room, share(entries, 2), records, 2)} {}

    [[nodiscard]] Ring& operator[](Lane lane) { return rings_[static_cast<std::size_t>(lane)]; }

    /// Makes workers look into all lanes. Call it before publishing in a lane other than the normal
    /// one.
    void use_several() noexcept {
        uses_several_.store(true, std::memory_order_relaxed);
        if (!words_->several.load(std::memory_order_relaxed)) words_->several.store(true);
    }

    /// Returns how many tasks are queued in all lanes.
    [[nodiscard]] std::uint64_t length() noexcept;

    /// Returns whether `Ring::has_dead` holds for any lane.
    [[nodiscard]] bool has_dead() noexcept;

    /// Takes the next position of a lane, unless `limit` tasks are queued in all lanes together or
    /// the lane is closed.
    Ring::ReserveResult reserve(Lane lane, std::uint64_t limit, Position& position) noexcept {
        Ring& ring = (*this)[lane];
        if (!words_->several.load(std::memory_order_relaxed)) {
            const Ring::ReserveResult result = ring.reserve(limit, position);
            if (result != Ring::ReserveResult::full) return result;
        }
        return reserve_among_all(ring, limit, position);
    }

    void close() noexcept;

    /// Rewrites the words that only the parent writes, in case a worker has overwritten them.
    void rewrite_control_words() noexcept;

    /// Returns whether `Ring::is_plausible` holds for all lanes.
    [[nodiscard]] bool is_plausible() const noexcept;
    /// Returns whether `Ring::holds` holds for any lane.
    [[nodiscard]] bool holds(std::uint32_t index, std::uint32_t generation) const noexcept;
    /// Returns `Ring::blocked_at` of the first lane that has one.
    [[nodiscard]] std::optional<Position> blocked_at() const noexcept;

    /// Like `Ring::forget`, for a task of this lane.
    void forget(Lane lane, std::uint32_t index, std::uint32_t generation) noexcept;

    /// Claims the next task for a worker; `turn` is how many tasks it has claimed so far. Returns
    /// false if there is none.
    bool claim(std::uint16_t owner, WorkerIntent& intent, std::uint64_t turn,
               Claim& claimed) noexcept {
        if (words_->several.load(std::memory_order_relaxed))
            return claim_from_all(owner, intent, turn, claimed);
        return (*this)[Lane::normal].claim(owner, intent, claimed);
    }

    [[nodiscard]] bool has_work() const noexcept;
    [[nodiscard]] bool drained() const noexcept;

    /// Like `Ring::retire`, with the entries counted from the first lane's start.
    template <typename Discard>
    void retire(Discard discard) {
        for (std::size_t i = 0; i < lane_count; ++i) {
            const std::uint64_t begin = i * rings_[i].size();
            rings_[i].retire([&](std::uint64_t first, std::uint64_t last) {
                discard(begin + first, begin + last);
            });
        }
    }

private:
    Ring::ReserveResult reserve_among_all(Ring& ring, std::uint64_t limit,
                                          Position& position) noexcept;
    bool claim_from_all(std::uint16_t owner, WorkerIntent& intent, std::uint64_t turn,
                        Claim& claimed) noexcept;
    template <typename Count>
    std::uint64_t count_elsewhere(const Ring& ring, Count count) noexcept;

    static std::span<std::atomic<std::uint64_t>> share(std::span<std::atomic<std::uint64_t>> all,
                                                       std::size_t lane) {
        const std::size_t size = all.size() / lane_count;
        return all.subspan(lane * size, size);
    }

    LaneWords* words_;
    std::array<Ring, lane_count> rings_;
    std::atomic<bool> uses_several_{false}; ///< private memory of the parent
};

} // namespace prong::ring
