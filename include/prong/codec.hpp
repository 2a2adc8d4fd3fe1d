#pragma once

#include <prong/detail/decode.hpp>
#include <prong/detail/items.hpp>

#include <concepts>
#include <exception>

/// \file
/// How values become bytes; users call nothing here. A type can be transferred to another process
/// if it is `prong::Transferable`:
///
/// - arithmetic types, enumerations, and trivially copyable aggregates without pointers, bytewise;
///   a `std::vector`, `std::array`, `std::basic_string` or `std::valarray` of these in one block;
/// - the other containers and value types of the standard library, nested at will;
/// - a plain aggregate, member by member, without further code, const members too (members that are
///   C arrays or bit-fields, and base classes, only if the whole is trivially copyable);
/// - a class with `serialize`, `save` and `load`, or `save_minimal` and `load_minimal` for cereal,
///   as a member or not, versioned or not. It needs a default constructor;
/// - a trivially copyable class or union with private members or constructors, which might hide a
///   pointer, only if the program says so:
///   `template <> inline constexpr bool prong::is_bitwise_transferable<Money> = true;`
///
/// The comparison or hash of a container is transferred with it, if its type is transferable and
/// holds no function pointer; one without members takes no bytes. An allocator is not: containers
/// of `std::pmr` arrive with the default memory resource; other stateful allocators are rejected.
/// The object of a decoded `std::unique_ptr` or `std::shared_ptr` was created by `new`; a
/// `std::unique_ptr` may have a custom deleter without members.
///
/// At most 1000 objects may be nested, such as the nodes of a list linked by pointers, because each
/// level takes stack: 60 to 500 bytes (2.5 KiB in a program with a sanitizer and without
/// optimisation). Beyond it throws `CodecError`. `PoolOptions::max_nesting` sets the limit of a
/// pool. Values like `std::vector<std::vector<int>>` do not count as nested.

namespace prong {

/// A type whose values can be encoded in one process and decoded in another. Looks inside standard
/// types and aggregates; checks a class's own `serialize` only when that is compiled.
template <class T>
concept Transferable = std::same_as<T, std::remove_cvref_t<T>> && !detail::ObstacleTo<T>::any;

namespace detail {

/// Calls `step`; turns errors of cereal, and those of implausible sizes, into `CodecError`.
template <class Step>
decltype(auto) as_codec_error(Step&& step) {
    try {
        return step();
    } catch (const cereal::Exception& error) {
        throw CodecError(error.what());
    }
}

/// Appends `value`. Throws `CodecError` for a value that has no encoding (nested too deeply, a
/// valueless variant, an unregistered polymorphic type), what the type's own serialization throws,
/// and what the writer throws when there is no more room.
template <class T>
void encode(Writer& writer, const T& value) {
    if constexpr (require_transferable<T>()) {
        if constexpr (encoding_of<T>() == Encoding::bitwise) {
            encode_bitwise(writer, value);
        } else if constexpr (encoding_of<T>() == Encoding::contiguous) {
            encode_contiguous(writer, value);
        } else {
            as_codec_error([&] { EncodeArchive{writer}(value); });
        }
    }
}

/// The next value. Throws `CodecError` for bytes that are not an encoded `T`, and what the type's
/// own serialization throws. Bytes that `T` does not need are left.
template <class T>
T decode(Reader& reader) {
    if constexpr (!require_transferable<T>()) {
        std::terminate(); // so that the refusal is all that the compiler says
    } else if constexpr (encoding_of<T>() == Encoding::bitwise) {
        return decode_bitwise<T>(reader);
    } else {
        try {
            return as_codec_error([&] { return DecodeArchive{reader}.template read<T>(); });
        } catch (const std::bad_alloc&) {
            throw CodecError("decoding needs more memory than there is");
        } catch (const std::length_error& error) {
            throw CodecError(std::string("the encoded bytes announce too large a size: ") +
                             error.what());
        }
    }
}

template <typename T>
struct Decoder {
    static T decode(Reader& reader) { return detail::decode<T>(reader); }
};

} // namespace detail
} // namespace prong
