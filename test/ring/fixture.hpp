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

} // namespace prong::test
