#pragma once

#include <any>
#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace prong {

namespace detail {

/// The `done` of `callbacks`: a function of any result, which `callbacks` does not know yet.
class DoneCallback {
public:
    DoneCallback() = default;
    DoneCallback(std::nullptr_t) {}

    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, DoneCallback> &&
                 requires(F&& f) { std::function(std::forward<F>(f)); })
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): hides neither copy nor move
    DoneCallback(F&& f) {
        set(std::function(std::forward<F>(f)));
    }
    /// Rejected at compile time with an explanation.
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, DoneCallback> &&
                 !requires(F&& f) { std::function(std::forward<F>(f)); })
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload)
    DoneCallback(F&&) {
        static_assert(std::is_void_v<F>,
                      "prong: a done callback must declare the type of its parameter, which is the "
                      "result's (no auto), and must be copyable");
    }

    explicit operator bool() const { return function_.has_value(); }

    /// Throws `std::invalid_argument` if the function can be called neither with such a result nor
    /// without one.
    template <class... Result>
    void require() const {
        const bool fits = !*this || get<Result...>() != nullptr || get<>() != nullptr;
        if (!fits)
            throw std::invalid_argument("the parameter of a done callback must have the type of "
                                        "the call's result: declare it so, or leave it out");
    }
    template <class... Result>
    void operator()(Result... result) const {
        if (const auto* const function = get<Result...>())
            (*function)(std::move(result)...);
        else if (const auto* const without_result = get<>())
            (*without_result)();
    }

private:
    template <class Returned, class... Ps>
    void set(std::function<Returned(Ps...)> function) {
        static_assert(sizeof...(Ps) <= 1, "prong: a done callback takes the result or nothing");
        if (function)
            function_ = std::function<void(std::remove_cvref_t<Ps>...)>(std::move(function));
    }
    template <class... Result>
    [[nodiscard]] const std::function<void(Result...)>* get() const {
        return std::any_cast<std::function<void(Result...)>>(&function_);
    }

    std::any function_;
};

} // namespace detail

/// Functions that the pool's callback thread calls when the result of an asynchronous call of a
/// `Pool` is there: `pool.apply_async(prong::callbacks{.done = keep, .error = log}, f, 7)`.
///
/// `done` takes the result by value or reference, or nothing. Its parameter has the type of the
/// result (`std::vector<R>` for a map); otherwise the call throws `std::invalid_argument`. `error`
/// takes a `std::exception_ptr`. Both may be left out.
///
/// Callbacks run one at a time, in the order in which the calls end, and should return soon. They
/// may use the pool, but not `join` it. An exception that a callback throws becomes the exception
/// of the result.
// NOLINTNEXTLINE(readability-identifier-naming): the name of arguments in Python
struct callbacks {
    /// Receives the result of a call that has succeeded.
    detail::DoneCallback done = {};
    /// Receives the exception of a call that has failed.
    std::function<void(std::exception_ptr)> error = nullptr;
};

} // namespace prong
