#include "executor/shared/result_writer.hpp"

#include "executor/shared/memory_limit.hpp"

#include <prong/error.hpp>

namespace prong::executor {

static_assert(ring::Record::alignment == detail::wire_alignment);

ResultWriter::ResultWriter(const SharedState& state, unsigned owner, ring::WorkerIntent& intent,
                           ring::Record& record, detail::Pledges* pledges)
    : Writer(state.sizes().max_nesting), state_(state), intent_(intent), record_(record),
      pledges_(pledges), owner_(owner),
      begin_in_record_(ring::result_begin(ring::read_once(record.arguments_end))) {
    use_record();
}

void ResultWriter::use_record() {
    set_window(reinterpret_cast<std::byte*>(&record_) + begin_in_record_, 0, room_in_record());
}

detail::Pledges& ResultWriter::pledges() {
    if (pledges_ != nullptr) return *pledges_;
    throw CodecError(
        "a prong::SharedBuffer or SharedView in a result must not be hidden in a class "
        "with a serialize function: make the class an aggregate");
}

void ResultWriter::start_over() {
    if (pledges_ != nullptr) pledges_->drop();
    if (block_ != 0) {
        state_.payload.free(block_, size());
        intent_.block.store(0, std::memory_order_release);
        block_ = 0;
    }
    use_record();
}

void ResultWriter::store() {
    if (size() == 0) start_over(); // nothing needs no block
    record_.result_end = (block_ != 0 ? block_ : begin_in_record_) + size();
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
