#include "ring/lanes.hpp"

namespace prong::ring {

std::uint64_t Lanes::length() noexcept {
    std::uint64_t total = 0;
    for (Ring& ring : rings_) total += ring.length();
    return total;
}

bool Lanes::has_dead() noexcept {
    return std::ranges::any_of(rings_, [](Ring& ring) { return ring.has_dead(); });
}

/// The sum of `count(ring)` for all but this one, if they may hold anything.
template <typename Count>
std::uint64_t Lanes::count_elsewhere(const Ring& ring, Count count) noexcept {
    std::uint64_t total = 0;
    if (!signs_->several.load(std::memory_order_relaxed)) return total;
    for (Ring& other : rings_) total += &other == &ring ? 0 : count(other);
    return total;
}

Ring::Refusal Lanes::reserve(Lane lane, std::uint64_t limit, Position& position) noexcept {
    Ring& ring = (*this)[lane];
    if (!signs_->several.load(std::memory_order_relaxed)) {
        const Ring::Refusal refusal = ring.reserve(limit, position);
        if (refusal != Ring::Refusal::full) return refusal;
    }
    return reserve_among_all(ring, limit, position);
}

Ring::Refusal Lanes::reserve_among_all(Ring& ring, std::uint64_t limit,
                                       Position& position) noexcept {
    const std::uint64_t entries =
        count_elsewhere(ring, [](const Ring& other) { return other.entries_ahead(); });
    const Ring::Refusal refusal = ring.reserve(limit - std::min(limit, entries), position);
    if (refusal != Ring::Refusal::full) return refusal;
    const std::uint64_t tasks = count_elsewhere(ring, [](Ring& other) { return other.length(); });
    return ring.reserve_by_length(limit - std::min(limit, tasks), position);
}

void Lanes::forget(Lane lane, std::uint32_t index, std::uint32_t generation) noexcept {
    (*this)[lane].forget(index, generation);
    for (Ring& ring : rings_) ring.wake_waiting(); // the limit holds for all of them together
}

void Lanes::close() noexcept {
    for (Ring& ring : rings_) ring.close();
}

void Lanes::repeat_signs() noexcept {
    if (uses_several_.load() && !signs_->several.load()) signs_->several.store(true);
    for (Ring& ring : rings_) ring.repeat_signs();
}

bool Lanes::is_plausible() const noexcept {
    return std::ranges::all_of(rings_, [](const Ring& ring) { return ring.is_plausible(); });
}

bool Lanes::holds(std::uint32_t index, std::uint32_t generation) const noexcept {
    return std::ranges::any_of(rings_,
                               [=](const Ring& ring) { return ring.holds(index, generation); });
}

std::optional<Position> Lanes::blocked_at() const noexcept {
    for (const Ring& ring : rings_) {
        if (const auto position = ring.blocked_at()) return position;
    }
    return std::nullopt;
}

std::optional<Claim> Lanes::claim(std::uint16_t owner, Note& note, std::uint64_t turn) noexcept {
    Ring& normal = (*this)[Lane::normal];
    if (!signs_->several.load(std::memory_order_relaxed)) return normal.claim(owner, note);
    Ring& high = (*this)[Lane::high];
    Ring& low = (*this)[Lane::low];
    std::array<Ring*, lane_count> order{&high, &normal, &low};
    if (turn % 4 == 3) order = {&normal, &high, &low};
    if (turn % 16 == 15) order = {&low, &high, &normal};
    for (Ring* const ring : order) {
        if (auto claimed = ring->claim(owner, note)) return claimed;
    }
    return std::nullopt;
}

bool Lanes::has_work() const noexcept {
    const std::size_t used = signs_->several.load(std::memory_order_relaxed) ? lane_count : 1;
    return std::any_of(rings_.begin(), rings_.begin() + used,
                       [](const Ring& ring) { return ring.has_work(); });
}

bool Lanes::drained() const noexcept {
    return std::ranges::all_of(rings_, [](const Ring& ring) { return ring.drained(); });
}

} // namespace prong::ring
