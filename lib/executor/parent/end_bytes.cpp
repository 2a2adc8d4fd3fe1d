#include "executor/parent/end_bytes.hpp"

namespace prong::executor {

using ring::TaskState;

std::optional<EndBytes> bytes_at_end(const SharedState& state, std::uint32_t index,
                                     const ring::Status& status) {
    const auto bytes = state.result_of(state.records[index]);
    if (!bytes) return std::nullopt;
    const bool has_ended_itself =
        status.state == TaskState::returned || status.state == TaskState::thrown;
    std::uint64_t output = 0;
    if (has_ended_itself && status.has(ring::Status::has_options))
        output = state.settings(index).output_length.load();
    if (output > bytes->size()) output = 0;
    return EndBytes{.end = bytes->first(bytes->size() - output), .output = bytes->last(output)};
}

} // namespace prong::executor
