#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/wire.hpp>

#include <atomic>
#include <string>

namespace prong::detail {

/// What a worker must know to run one kind of task: one constant object for each combination of
/// callable, parameter types and result type. Its address is good in every process of the fork
/// family, and is what travels to the worker.
struct TaskType {
    /// Decodes the callable and its arguments, calls it, encodes the result. Whatever it throws is
    /// the task's failure.
    void (*run)(Reader& arguments, Writer& result);

    /// What the task is called in messages, such as `parse(std::string)`; looks at the encoded
    /// arguments only to find a function pointer's name. Never throws for bad bytes.
    std::string (*name)(Reader arguments);

    /// Whether the encoded arguments begin with the address of a function (an offset, far below any
    /// address, if it is a virtual member function).
    bool begins_with_address;

    /// Whether the result may hold parcels: its bytes end with a list of them (`Pledges`).
    bool returns_parcels;
};

/// Ends this process if it is not the worker but a process that a task has forked, in which the
/// task's function has ended, too: its result is not the task's. Costs some loads.
PRONG_API void end_copy_of_worker(int exit_code) noexcept;

/// Calls `end_copy_of_worker` where that is needed; costs a load for each of many calls.
class PRONG_API CopyCheck {
public:
    CopyCheck() noexcept;
    void end_copy() const noexcept {
        if (word_ == nullptr || word_->load(std::memory_order_relaxed) != value_) [[unlikely]]
            end_copy_of_worker(0);
    }

private:
    /// Differs in a copy of this process; null if there is no such word.
    const std::atomic<unsigned>* word_;
    unsigned value_;
};

} // namespace prong::detail
