#pragma once

#include <prong/detail/export.hpp>

#include <utility>
#include <vector>

namespace prong::detail {

/// The call stack of the place where a task threw an exception: return addresses, innermost first.
class PRONG_API ThrownStack {
public:
    explicit ThrownStack(std::vector<const void*> frames) : frames_(std::move(frames)) {}
    virtual ~ThrownStack();

    [[nodiscard]] const std::vector<const void*>& frames() const noexcept { return frames_; }

private:
    std::vector<const void*> frames_;
};

/// An `E` that knows where it was thrown. (The `E` is the first base: `type_of_current_exception`
/// relies on it.)
template <class E>
class WithStack : public E, public ThrownStack {
public:
    WithStack(const E& error, std::vector<const void*> frames)
        : E(error), ThrownStack(std::move(frames)) {}
};

} // namespace prong::detail
