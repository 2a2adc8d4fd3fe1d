#pragma once

#include <type_traits>
#include <utility>

namespace prong {

namespace detail {

/// A callable whose bytes are sent as they are.
template <class F>
struct WithCaptures {
    F callable;
};

} // namespace detail

/// Marks a lambda with captures as transferable; the worker runs a copy of its bytes:
/// `pool.submit(prong::with_captures([n](int x) { return n * x; }), 3)`.
///
/// The captures must be trivially copyable, and must not be pointers or references (`[&]`,
/// `[this]`): pointers would refer to the worker's old copy of memory. The compiler cannot check
/// that, hence the mark. Pass anything else as an argument.
template <class F>
[[nodiscard]] auto with_captures(F&& callable) {
    using Callable = std::decay_t<F>;
    static_assert(std::is_trivially_copyable_v<Callable>,
                  "prong: with_captures takes a lambda whose captures are all trivially copyable: "
                  "pass the others, such as a std::string, as arguments");
    return detail::WithCaptures<Callable>{std::forward<F>(callable)};
}

} // namespace prong
