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

/// The `error` of `callbacks`.
class ErrorCallback {
public:
    ErrorCallback() = default;
    ErrorCallback(std::nullptr_t) {}

    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, ErrorCallback>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): hides neither copy nor move
    ErrorCallback(F&& f) {
        using Function = std::decay_t<F>;
        if constexpr (std::is_invocable_v<Function&, std::exception_ptr>) {
            function_ = std::forward<F>(f);
        } else if constexpr (std::is_invocable_v<Function&, const std::exception&>) {
            function_ =
                [function = Function(std::forward<F>(f))](const std::exception_ptr& error) mutable {
                    try {
                        std::rethrow_exception(error);
                    } catch (const std::exception& exception) {
                        function(exception);
                    }
                };
        } else if constexpr (std::is_invocable_v<Function&>) {
            function_ = [function = Function(std::forward<F>(f))](
                            const std::exception_ptr&) mutable { function(); };
        } else {
            static_assert(std::is_void_v<F>,
                          "prong: an error callback takes a std::exception_ptr, a const "
                          "std::exception&, or nothing");
        }
    }

    explicit operator bool() const { return static_cast<bool>(function_); }
    void operator()(const std::exception_ptr& error) const {
        if (function_) function_(error);
    }

private:
    std::function<void(std::exception_ptr)> function_;
};

} // namespace detail

/// Functions that a `Pool` calls when the result of an asynchronous call is available:
/// `pool.apply_async(prong::callbacks{.done = keep, .error = log}, f, 7)`.
///
/// `done` takes the result by value or reference, or nothing. The type of its parameter must be
/// that of the result (for a map: `std::vector<R>`); otherwise the call throws
/// `std::invalid_argument`. `error` takes a `std::exception_ptr`, a `const std::exception&`, or
/// nothing. Both may be left out. Both are copied.
///
/// Callbacks run one at a time in a thread of the pool, in the order in which the calls end. A slow
/// callback delays the others. Callbacks may use the pool, but not `join` it. An exception that a
/// callback throws becomes the exception of the result.
// NOLINTNEXTLINE(readability-identifier-naming): reads like the names of arguments in Python
struct callbacks {
    /// Receives the result of a call that has succeeded.
    detail::DoneCallback done = {};
    /// Receives the exception of a call that has failed.
    detail::ErrorCallback error = {};
};

} // namespace prong
