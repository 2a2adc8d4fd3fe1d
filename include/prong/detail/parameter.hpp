#pragma once

#include <prong/codec.hpp>
#include <prong/detail/signature.hpp>

#include <concepts>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

/// \file
/// How one argument of a task travels. What the callable declares decides: the argument is
/// converted to the parameter's type when the task is submitted, as in an ordinary call.

namespace prong::detail {

/// A parameter type that looks at elements in the encoded arguments, while the task runs.
template <class T>
concept ViewParameter = is_a<T, std::basic_string_view> || is_span<T>;

template <class T>
using ViewedElement =
    std::remove_const_t<std::remove_pointer_t<decltype(std::declval<T>().data())>>;

template <class T>
concept MutableSpan = is_span<T> && !std::is_const_v<typename T::element_type>;

/// `char[N]` and its like: text rather than an array, if nothing says otherwise.
template <class T>
inline constexpr bool is_text_array = false;
template <class Character, std::size_t Size>
inline constexpr bool is_text_array<Character[Size]> =
    std::same_as<Character, char> || std::same_as<Character, wchar_t> ||
    std::same_as<Character, char8_t> || std::same_as<Character, char16_t> ||
    std::same_as<Character, char32_t>;

/// The type in which an argument of type `Arg` (without reference and const) travels to the
/// declared parameter type `Declared`.
template <class Declared, class Arg>
struct WireValue {
    using Plain = std::remove_cvref_t<Declared>;
    // A derived object that is passed by reference stays whole, as it would in an ordinary call.
    using type = std::conditional_t<std::is_reference_v<Declared> && std::is_class_v<Plain> &&
                                        std::derived_from<Arg, Plain>,
                                    Arg, Plain>;
};
// The worker has the buffer or view itself while the task looks at it.
template <class Element, std::size_t Extent, Parcel Arg>
struct WireValue<std::span<const Element, Extent>, Arg> {
    using type = Arg;
};
template <class Element, std::size_t Extent, Parcel Arg>
struct WireValue<const std::span<const Element, Extent>&, Arg> {
    using type = Arg;
};
template <class Class, bool IsRvalue, class Arg>
struct WireValue<ObjectParameter<Class, IsRvalue>, Arg> : WireValue<const Class&, Arg> {};
template <class Arg>
struct WireValue<Undeclared, Arg> {
    using type = std::decay_t<Arg>;
};
// What an iterator over several ranges gives: copies of what it refers to.
template <class First, class Second>
struct WireValue<Undeclared, std::pair<First, Second>> {
    using type = std::pair<std::remove_reference_t<First>, std::remove_reference_t<Second>>;
};
template <class... Elements>
struct WireValue<Undeclared, std::tuple<Elements...>> {
    using type = std::tuple<std::remove_reference_t<Elements>...>;
};
template <class Arg>
    requires is_text_array<Arg>
struct WireValue<Undeclared, Arg> {
    using type = std::basic_string<std::remove_extent_t<Arg>>;
};

/// Is it the object of a member function that is not &&-qualified?
template <class Declared>
inline constexpr bool is_lvalue_object = false;
template <class Class>
inline constexpr bool is_lvalue_object<ObjectParameter<Class, false>> = true;

/// One parameter of a task: how it is declared and the type `Value` in which it travels.
template <class Declared, class Value>
struct Parameter {
    /// What the worker keeps while the task runs: a value, or a view into the encoded arguments.
    using Held = Value;

    /// Appends the argument, converted.
    template <class Arg>
    static void encode(Writer& writer, const Arg& argument) {
        if constexpr (ViewParameter<Value>) {
            const Value view(argument);
            encode_elements<ViewedElement<Value>>(writer, view.data(), view.size());
        } else if constexpr (std::same_as<Arg, Value>) {
            detail::encode(writer, argument);
        } else if constexpr (std::same_as<Declared, Undeclared> && is_text_array<Arg>) {
            // An array that is filled to the last character has no terminating zero.
            std::size_t length = 0;
            while (length < std::extent_v<Arg> && argument[length] != 0) ++length;
            detail::encode(writer, Value(argument, length));
        } else {
            detail::encode(writer, static_cast<Value>(argument));
        }
    }

    /// The next argument. Throws what `prong::detail::decode` throws.
    static Held decode(Reader& reader) {
        if constexpr (ViewParameter<Value>) {
            using Element = ViewedElement<Value>;
            const EncodedElements<Element> elements = view_elements<Element>(reader);
            if (!elements.is_aligned())
                throw CodecError("the encoded elements that a span looks at are not aligned");
            if constexpr (is_span<Value>) {
                if (Value::extent != std::dynamic_extent && Value::extent != elements.count)
                    throw CodecError("a span of fixed size meets another number of elements");
            }
            return Value(elements.objects(), elements.count);
        } else {
            return detail::decode<Value>(reader);
        }
    }

    /// What the callable is called with.
    static decltype(auto) pass(Held& held) {
        if constexpr (is_lvalue_object<Declared>) {
            return static_cast<Held&>(held);
        } else if constexpr (is_span<std::remove_cvref_t<Declared>> && !is_span<Held>) {
            return std::remove_cvref_t<Declared>(std::as_const(held));
        } else if constexpr (std::is_lvalue_reference_v<Declared>) {
            return std::as_const(held);
        } else {
            return std::move(held);
        }
    }
};

/// Why an argument does not fit a parameter.
enum class Misfit {
    none,
    count,             ///< too many arguments or too few
    conversion,        ///< the argument does not convert to the parameter
    mutable_reference, ///< the parameter is a reference through which the task would change a copy
    mutable_span,      ///< the same with a span
    span_element,      ///< the elements of the span are not encoded as they lie in memory
    stop_token,        ///< the argument is a stop token of this process
};

/// Does an `Arg` fit a parameter that is declared so?
template <class Declared, class Arg>
consteval Misfit misfit_of() {
    using Value = typename WireValue<Declared, Arg>::type;
    if constexpr (StopToken<Arg>) {
        return Misfit::stop_token;
    } else if constexpr (std::is_lvalue_reference_v<Declared> &&
                         !std::is_const_v<std::remove_reference_t<Declared>>) {
        return Misfit::mutable_reference;
    } else if constexpr (MutableSpan<Value>) {
        return Misfit::mutable_span;
    } else if constexpr (is_span<std::remove_cvref_t<Declared>> && Parcel<Arg>) {
        return std::is_constructible_v<std::remove_cvref_t<Declared>, const Arg&>
                   ? Misfit::none
                   : Misfit::conversion;
    } else if constexpr (ViewParameter<Value>) {
        using Element = ViewedElement<Value>;
        if constexpr (!Bitwise<Element> || alignof(Element) > wire_alignment) {
            return Misfit::span_element;
        } else {
            return std::is_convertible_v<const Arg&, Value> ? Misfit::none : Misfit::conversion;
        }
    } else if constexpr (std::same_as<Arg, Value> || std::same_as<Declared, Undeclared>) {
        return Misfit::none;
    } else {
        return std::is_convertible_v<const Arg&, Value> ? Misfit::none : Misfit::conversion;
    }
}

} // namespace prong::detail
