#pragma once

#include <concepts>
#include <functional>
#include <type_traits>
#include <utility>

namespace prong {

/// Something that a pool's workers shall call: made from anything that can be called without
/// arguments, or from nothing (`nullptr`, an empty `std::function`).
///
/// A plain function or a lambda without captures is also known by its address, by which alone it
/// can reach workers that are forked from a zygote.
class WorkerHook {
    template <class F>
    static constexpr bool fits = std::is_constructible_v<std::function<void()>, F> &&
                                 std::is_copy_constructible_v<std::decay_t<F>>;

public:
    /// A hook as a plain function.
    using Function = void (*)();

    WorkerHook() noexcept = default;

    /// Keeps a copy of the callable.
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, WorkerHook> && fits<F>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): hides neither copy nor move
    WorkerHook(F&& callable) : plain_(plain_form(callable)), callable_(std::forward<F>(callable)) {}

    /// What is no hook is refused, in words.
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, WorkerHook> && !fits<F>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload)
    WorkerHook(F&&) {
        static_assert(std::is_copy_constructible_v<std::decay_t<F>>,
                      "prong: a hook of a pool (initializer, on_worker_start, on_worker_exit) must "
                      "be copyable: let it hold a std::shared_ptr in place of what can only be "
                      "moved");
        static_assert(fits<F> || !std::is_copy_constructible_v<std::decay_t<F>>,
                      "prong: a hook of a pool (initializer, on_worker_start, on_worker_exit) must "
                      "be callable without arguments");
    }

    /// Whether there is something to call.
    explicit operator bool() const noexcept { return static_cast<bool>(callable_); }

    /// Calls it.
    void operator()() const { callable_(); }

    /// The same as a plain function; null if it is not one.
    [[nodiscard]] Function plain() const noexcept { return plain_; }

private:
    template <class F>
    static Function plain_form(const F& callable) {
        if constexpr (std::is_convertible_v<const F&, Function>) {
            return callable;
        } else if constexpr (std::is_empty_v<F> && std::is_default_constructible_v<F>) {
            return [] { static_cast<void>(F{}()); };
        } else {
            return nullptr;
        }
    }

    Function plain_ = nullptr;
    std::function<void()> callable_;
};

} // namespace prong
