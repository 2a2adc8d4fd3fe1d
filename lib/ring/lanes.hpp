#pragma once

#include "ring/ring.hpp"
#include "shm/flag.hpp"

#include <array>

namespace prong::ring {

/// The queues by priority. Most pools use the normal one only, and look at no other then.
enum class Lane : std::uint8_t { normal, high, low };
inline constexpr std::size_t lane_count = 3;

/// The words of the lanes in shared memory.
struct LaneWords {
    /// Whether any lane but the normal one was ever used. Written by the parent.
    alignas(128) shm::Flag several;
    std::array<Cursor, lane_count> cursors;
};

/// Three rings over the same records. Workers take what is urgent first, but every fourth time look
/// at the normal lane and every sixteenth at the low one before that, so none starves.
///
/// Thread and process safety: as `Ring`.
class Lanes {
public:
    /// `entries`: the lanes' shares one behind the other, each a power of two.
    Lanes(LaneWords& words, std::span<std::atomic<std::uint64_t>> entries,
          std::span<Record> records)
        : words_(&words), rings_{Ring(words.cursors[0], share(entries, 0), records),
                                 Ring(words.cursors[1], share(entries, 1), records),
                                 Ring(words.cursors[2], share(entries, 2), records)} {}

    [[nodiscard]] Ring& operator[](Lane lane) { return rings_[static_cast<std::size_t>(lane)]; }

    /// To be called before something is published in another lane than the normal one.
    void use_several() noexcept {
        uses_several_.store(true, std::memory_order_relaxed);
        if (!words_->several.load(std::memory_order_relaxed)) words_->several.store(true);
    }

    /// How many tasks wait for a worker in all lanes.
    [[nodiscard]] std::uint64_t length() noexcept;

    /// `Ring::has_dead` of any lane.
    [[nodiscard]] bool has_dead() noexcept;

    /// Takes the next position of a lane unless `limit` tasks wait in all lanes together or the
    /// lane is closed.
    Ring::ReserveResult reserve(Lane lane, std::uint64_t limit, Position& position) noexcept;

    void close() noexcept;

    /// Writes again what the parent alone writes, in case a worker has written over it.
    void rewrite_control_words() noexcept;

    /// `Ring::is_plausible` of all lanes.
    [[nodiscard]] bool is_plausible() const noexcept;
    /// `Ring::holds` of any lane.
    [[nodiscard]] bool holds(std::uint32_t index, std::uint32_t generation) const noexcept;
    /// `Ring::blocked_at` of the first lane of which it is true.
    [[nodiscard]] std::optional<Position> blocked_at() const noexcept;

    /// As `Ring::forget`, of a task in this lane.
    void forget(Lane lane, std::uint32_t index, std::uint32_t generation) noexcept;

    /// The next task for a worker; `turn` is how many it has claimed so far.
    std::optional<Claim> claim(std::uint16_t owner, WorkerIntent& intent,
                               std::uint64_t turn) noexcept;

    [[nodiscard]] bool has_work() const noexcept;
    [[nodiscard]] bool drained() const noexcept;

    /// As `Ring::retire`, with the entries counted from the first lane's start.
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
    template <typename Count>
    std::uint64_t count_elsewhere(const Ring& ring, Count count) noexcept;

    static std::span<std::atomic<std::uint64_t>> share(std::span<std::atomic<std::uint64_t>> all,
                                                       std::size_t lane) {
        const std::size_t size = all.size() / lane_count;
        return all.subspan(lane * size, size);
    }

    LaneWords* words_;
    std::array<Ring, lane_count> rings_;
    std::atomic<bool> uses_several_{false}; ///< the parent's own
};

} // namespace prong::ring
