#pragma once

#include "executor/shared/shared_state.hpp"

#include <prong/detail/wire.hpp>

namespace prong::executor {

/// Writes a task's result where the parent will read it: behind the arguments in the record, or,
/// when it grows too large, in a payload block. Throws `LimitExceeded` when there is no such block.
class ResultWriter final : public detail::Writer {
public:
    ResultWriter(const SharedState& state, unsigned worker, ring::Record& record);

    /// Forgets what was written, for an exception in place of a result.
    void start_over();

    /// Tells the record where the result is. To be published after that.
    void store() const;

    /// How many bytes need no payload block.
    [[nodiscard]] std::size_t room_in_record() const {
        return sizeof(record_.bytes) - inline_begin_;
    }

private:
    void grow(std::size_t more) override;

    const SharedState& state_;
    ring::WorkerIntent& intent_;
    ring::Record& record_;
    shm::Owner owner_;
    std::size_t inline_begin_; ///< within the record's bytes
    std::uint64_t block_ = 0;  ///< 0: in the record
};

} // namespace prong::executor
