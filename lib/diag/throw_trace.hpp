#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

namespace prong::diag {

/// How many addresses a call stack has at most.
inline constexpr std::size_t max_frames = 32;

/// The call stack of the place where an exception was thrown. Recorded only for exceptions that
/// leave `call`, so those that are caught inside cost nothing. Uses no locks and no memory besides
/// its own and those of the unwinder.
class ThrowTrace {
public:
    ThrowTrace() = default;
    ThrowTrace(const ThrowTrace&) = delete;
    ThrowTrace& operator=(const ThrowTrace&) = delete;

    /// Calls `function(argument)` and records where an exception that leaves it was thrown. Calls
    /// may be nested; an exception that leaves two is recorded by the inner one. On other machines
    /// than x86-64 and AArch64 records nothing.
    void call(void (*function)(void*), void* argument);
    template <class Function>
    void call(Function function) {
        call([](void* given) { (*static_cast<Function*>(given))(); }, std::addressof(function));
    }

    /// Returns the return addresses, innermost first, and forgets them: the next exception may have
    /// the same address. They begin in the C++ runtime. Valid until the next exception.
    [[nodiscard]] std::span<const void* const> take() noexcept;

    /// Called by the unwinder.
    class Recorder;

private:
    std::array<const void*, max_frames> frames_{};
    std::size_t count_ = 0;
    const void* exception_ = nullptr; ///< the recorded one; null if there is none
};

/// Does the same; for null, returns no addresses.
[[nodiscard]] inline std::span<const void* const> take_frames(ThrowTrace* trace) noexcept {
    return trace != nullptr ? trace->take() : std::span<const void* const>();
}

} // namespace prong::diag
