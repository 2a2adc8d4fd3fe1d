#pragma once

#include <prong/codec.hpp>
#include <prong/detail/thrown_stack.hpp>

#include <concepts>
#include <exception>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <vector>

/// \file
/// Registers exception types of the program, so that `get` rethrows them unchanged.

namespace prong {
namespace detail {

/// What an exception object is to have besides its own value.
struct ExceptionContext {
    bool has_nested = false;                 ///< nests the exception that is being handled
    std::vector<const void*> thrown_at = {}; ///< the call stack; empty if it is unknown
};

/// What there is to know about one type of exception.
struct ExceptionType {
    const std::type_info* type;
    /// Called while the exception is being handled: appends what makes up the exception besides
    /// `what()`. Returns false if it cannot.
    bool (*encode)(Writer& writer);
    /// Returns a new exception object.
    std::exception_ptr (*decode)(Reader& reader, const std::string& what,
                                 const ExceptionContext& context);

    friend bool operator==(const ExceptionType&, const ExceptionType&) = default;
};

/// Makes the type known, unless it is. Keeps a copy, which counts while the modules that it points
/// into are loaded. Without memory for that the type stays unknown. Lock-free: a process may be
/// forked at any time.
PRONG_API void add_exception_type(const ExceptionType& type) noexcept;

template <class E>
[[noreturn]] void throw_value(const E& value, bool has_nested) {
    if (has_nested) std::throw_with_nested(E(value)); // not const
    throw value;
}

/// Makes an exception object of a value. As with `std::throw_with_nested`, an object of a final
/// class has nothing besides its value.
template <class E>
std::exception_ptr make_exception(const E& value, const ExceptionContext& context) {
    try {
        if constexpr (!std::is_final_v<E>) {
            if (!context.thrown_at.empty())
                throw_value(WithStack<E>(value, context.thrown_at), context.has_nested);
        }
        throw_value(value, context.has_nested);
    } catch (...) {
        return std::current_exception();
    }
}

/// Can an `E` be made from what it says?
template <class E>
concept MadeFromText =
    std::derived_from<E, std::exception> && std::is_constructible_v<E, const std::string&>;

/// An exception is made from `what()` if it can be; what its `serialize` knows then comes on top.
template <class E>
struct ExceptionCodec {
    static bool encode(Writer& writer) {
        try {
            throw;
        } catch (const E& value) {
            if constexpr (!MadeFromText<E>) {
                detail::encode(writer, value);
            } else if constexpr (has_complete_serialization<E>) {
                as_codec_error([&] { EncodeArchive{writer}(value); });
            }
        }
        return true;
    }

    static std::exception_ptr decode(Reader& reader, const std::string& what,
                                     const ExceptionContext& context) {
        if constexpr (!MadeFromText<E>) {
            return make_exception(detail::decode<E>(reader), context);
        } else {
            E value(what);
            if constexpr (has_complete_serialization<E>)
                as_codec_error([&] { DecodeArchive{reader}(value); });
            return make_exception(value, context);
        }
    }
};

template <class E>
bool add_exception() noexcept {
    add_exception_type({&typeid(E), &ExceptionCodec<E>::encode, &ExceptionCodec<E>::decode});
    return true;
}

} // namespace detail

/// Registers `E`: exceptions of exactly this type are rethrown as `E`, with nested exceptions.
/// Other types arrive as `RemoteError`. The exceptions of the standard library and prong need no
/// registration.
///
/// `E` must be copyable, and either constructible from a `std::string` that `what()` returns, or
/// `Transferable`. With both, `serialize` is applied after construction.
///
/// Call it in the receiving process; if `E` carries more than its text, call it before creating the
/// pool. Best at program start:
///
///     inline const bool registered = prong::register_exception<ParseError>();
///
/// A module that registers types may be unloaded; its types are then unknown again. (Its
/// registrations with cereal remain and point into the unloaded module.) At most 1,001 levels of
/// nested exceptions are transferred; the text of the last one mentions further levels.
///
/// Always returns true. Thread safety: any thread, any number of times.
template <class E>
bool register_exception() noexcept {
    static_assert(std::same_as<E, std::remove_cvref_t<E>> && std::is_class_v<E>,
                  "prong: register_exception takes the type of the exception as it is thrown");
    static_assert(std::is_copy_constructible_v<E>,
                  "prong: an exception must be copyable to be thrown in another process");
    if constexpr (detail::MadeFromText<E>) {
        return detail::add_exception<E>();
    } else if constexpr (detail::require_transferable<E>()) {
        return detail::add_exception<E>();
    } else {
        return false;
    }
}

} // namespace prong
