#include "executor/shared/result_writer.hpp"

#include "executor/shared/memory_limit.hpp"

#include <algorithm>

namespace prong::executor {
namespace {

std::size_t align_up(std::size_t size) {
    return (size + detail::wire_alignment - 1) / detail::wire_alignment * detail::wire_alignment;
}

/// Returns the offset behind the arguments, from which the record's bytes are free.
std::size_t free_bytes_begin(const ring::Record& record) {
    const bool inline_arguments = record.arguments_offset < sizeof(ring::Record);
    const std::size_t used = inline_arguments ? record.arguments_length : 0;
    return std::min(align_up(used), sizeof(record.bytes));
}

} // namespace

ResultWriter::ResultWriter(const SharedState& state, unsigned worker, ring::Record& record)
    : Writer(state.sizes().max_nesting), state_(state), intent_(state.slot(worker).intent),
      record_(record), owner_(worker), inline_begin_(free_bytes_begin(record)) {
    set_window(record_.bytes + inline_begin_, 0, room_in_record());
}

void ResultWriter::start_over() {
    if (block_ != 0) {
        state_.payload.free(block_, size());
        intent_.block.store(0, std::memory_order_release);
        block_ = 0;
    }
    set_window(record_.bytes + inline_begin_, 0, room_in_record());
}

void ResultWriter::store() const {
    record_.result_offset = block_ != 0 ? block_ : ring::Record::bytes_offset + inline_begin_;
    record_.result_length = size();
}

void ResultWriter::grow(std::size_t more) {
    intent_.outgrown_block.store(block_, std::memory_order_release);
    shm::Block block{};
    try {
        block = move_to_larger_block(state_, {data(), size()}, more, owner_, intent_.block,
                                     "the task's result");
    } catch (...) { // the intent may name a block that was not taken
        intent_.block.store(block_, std::memory_order_release);
        intent_.outgrown_block.store(0, std::memory_order_release);
        throw;
    }
    const std::size_t used = size();
    if (block_ != 0) state_.payload.free(block_, used);
    intent_.outgrown_block.store(0, std::memory_order_release);
    block_ = block.offset;
    set_window(state_.payload.at(block_), used, block.capacity);
}

} // namespace prong::executor
