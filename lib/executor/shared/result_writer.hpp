#pragma once

#include "executor/shared/shared_state.hpp"

#include <prong/detail/pledges.hpp>
#include <prong/detail/wire.hpp>

namespace prong::executor {

/// Writes a task's result where the parent reads it: behind the arguments in the record, or in a
/// payload block when it grows too large. Throws `LimitExceeded` when no such block is available.
class ResultWriter final : public detail::Writer {
public:
    /// `intent`: the owner's. `pledges`: null if the result must have no parcels.
    ResultWriter(const SharedState& state, unsigned owner, ring::WorkerIntent& intent,
                 ring::Record& record, detail::Pledges* pledges = nullptr);
    ResultWriter(const SharedState& state, unsigned owner, ring::Record& record)
        : ResultWriter(state, owner, state.intent(owner), record) {}

    detail::Pledges& pledges() override;

    /// Discards what was written, so that an exception can be written instead of a result.
    void start_over();

    /// Stores the result's place in the record. Call it before the task is finished.
    void store();

    /// Returns how many bytes fit without a payload block.
    [[nodiscard]] std::size_t room_in_record() const { return sizeof(record_) - begin_in_record_; }

private:
    void use_record();
    void grow(std::size_t more) override;

    const SharedState& state_;
    ring::WorkerIntent& intent_;
    ring::Record& record_;
    detail::Pledges* pledges_;
    shm::Owner owner_;
    std::uint64_t begin_in_record_;
    std::uint64_t block_ = 0; ///< 0: in the record
};

} // namespace prong::executor
