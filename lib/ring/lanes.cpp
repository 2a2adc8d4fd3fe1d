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

/// Returns the sum of `count(ring)` over all other rings, or 0 if only the normal lane is used.
template <typename Count>
std::uint64_t Lanes::count_elsewhere(const Ring& ring, Count count) noexcept {
    std::uint64_t total = 0;
    if (!words_->several.load(std::memory_order_relaxed)) return total;
    for (Ring& other : rings_) total += &other == &ring ? 0 : count(other);
    return total;
}

Ring::ReserveResult Lanes::reserve_among_all(Ring& ring, std::uint64_t limit,
                                             Position& position) noexcept {
    const std::uint64_t entries =
        count_elsewhere(ring, [](const Ring& other) { return other.entries_ahead(); });
    const Ring::ReserveResult result = ring.reserve(limit - std::min(limit, entries), position);
    if (result != Ring::ReserveResult::full) return result;
    const std::uint64_t tasks = count_elsewhere(ring, [](Ring& other) { return other.length(); });
    return ring.reserve_by_length(limit - std::min(limit, tasks), position);
}

void Lanes::forget(Lane lane, std::uint32_t index, std::uint32_t generation) noexcept {
    (*this)[lane].forget(index, generation);
    words_->room.made_room();
}

void Lanes::close() noexcept {
    for (Ring& ring : rings_) ring.close();
    words_->room.made_room();
}

void Lanes::rewrite_control_words() noexcept {
    if (uses_several_.load() && !words_->several.load()) words_->several.store(true);
    for (Ring& ring : rings_) ring.rewrite_control_words();
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

bool Lanes::claim_from_all(std::uint16_t owner, WorkerIntent& intent, std::uint64_t turn,
                           Claim& claimed) noexcept {
    Ring& normal = (*this)[Lane::normal];
    Ring& high = (*this)[Lane::high];
    Ring& low = (*this)[Lane::low];
    std::array<Ring*, lane_count> order{&high, &normal, &low};
    if (turn % 4 == 3) order = {&normal, &high, &low};
    if (turn % 16 == 15) order = {&low, &high, &normal};
    return std::ranges::any_of(order,
                               [&](Ring* ring) { return ring->claim(owner, intent, claimed); });
}

bool Lanes::has_work() const noexcept {
    const std::size_t used = words_->several.load(std::memory_order_relaxed) ? lane_count : 1;
    return std::any_of(rings_.begin(), rings_.begin() + used,
                       [](const Ring& ring) { return ring.has_work(); });
}

bool Lanes::drained() const noexcept {
    return std::ranges::all_of(rings_, [](const Ring& ring) { return ring.drained(); });
}

} // namespace prong::ring
