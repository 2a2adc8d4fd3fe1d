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
inline std::optional<EndBytes> bytes_at_end(const SharedState& state, std::uint32_t index,
                                            const ring::Status& status) {
    const auto bytes = state.result_of(state.records[index]);
    if (!bytes) return std::nullopt;
    const bool has_ended_itself =
        status.state == ring::TaskState::returned || status.state == ring::TaskState::thrown;
    std::uint64_t output = 0;
    if (has_ended_itself && status.has(ring::Status::has_options))
        output = state.settings(index).output_length.load();
    if (output > bytes->size()) output = 0;
    return EndBytes{.end = bytes->first(bytes->size() - output), .output = bytes->last(output)};
}

} // namespace prong::executor
