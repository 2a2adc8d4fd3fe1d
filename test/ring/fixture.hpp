#pragma once

#include "executor/shared/shared_state.hpp"

namespace prong::test {

/// A small pool memory without any process.
inline executor::SharedState make_state(unsigned workers, std::uint64_t ring_entries = 1 << 12,
                                        std::uint64_t records = 1 << 12) {
    return executor::SharedState::create({.workers = workers,
                                          .ring_entries = ring_entries,
                                          .records = records,
                                          .payload_span = 1 << 20,
                                          .payload_most = 1 << 20});
}

/// Claims the oldest task that is queued, as this worker.
inline std::optional<ring::Claim> claim(executor::SharedState& state, std::uint16_t worker,
                                        std::uint64_t turn = 0) {
    ring::Claim claimed{};
    const bool made = state.lanes.claim(worker, state.slot(worker).intent, turn, claimed);
    return made ? std::optional(claimed) : std::nullopt;
}

} // namespace prong::test
