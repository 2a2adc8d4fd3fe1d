#pragma once

#include "executor/shared/shared_state.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace prong::executor {

/// What a task has left: its result, exception or failure report, and its captured output if that
/// follows one of the first two.
struct EndBytes {
    std::span<const std::byte> end;
    std::span<const std::byte> output;
};

/// Returns nothing if the record names an invalid place.
std::optional<EndBytes> bytes_at_end(const SharedState& state, std::uint32_t index,
                                     const ring::Status& status);

} // namespace prong::executor
