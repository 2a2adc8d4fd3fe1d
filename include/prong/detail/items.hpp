#pragma once

#include <prong/detail/huge_pages.hpp>
#include <prong/detail/transferable.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <bitset>
#include <cstring>
#include <new>
#include <stdexcept>

/// \file
/// How each kind of value becomes bytes and comes back.

namespace prong::detail {

// ---- bytes as they are --------------------------------------------------------------------------

/// Is `T` made of nothing but `BoolLike`s?
template <class T>
consteval bool is_all_bool() {
    if constexpr (std::is_array_v<T>) {
        return is_all_bool<std::remove_all_extents_t<T>>();
    } else if constexpr (StandardType<T> && Bitwise<T> && !is_a<T, std::complex>) {
        return []<class... E>(Types<E...>) {
            return sizeof...(E) != 0 && (is_all_bool<E>() && ...);
        }(typename ElementsOf<T>::type{});
    } else {
        return BoolLike<T>;
    }
}

/// Copies encoded objects of type `T` to where objects of that type lie or are about to.
template <class T>
void copy_bytes(void* target, const std::byte* source, std::size_t size) {
    if constexpr (is_all_bool<T>()) {
        // Any other byte than 0 and 1 in a bool would be undefined behaviour later.
        std::transform(source, source + size, static_cast<std::byte*>(target),
                       [](std::byte byte) { return byte == std::byte{0} ? byte : std::byte{1}; });
    } else if (size != 0) {
        std::memcpy(target, source, size);
    }
}

template <Bitwise T>
void encode_bitwise(Writer& writer, const T& value) {
    if constexpr (std::is_empty_v<T>) {
        *writer.reserve(1) = std::byte{0}; // everything takes a byte, so that sizes can be checked
    } else {
        std::memcpy(writer.reserve(sizeof(T)), std::addressof(value), sizeof(T));
    }
}

/// Overwrites `value` with the next one.
template <Bitwise T>
void decode_bitwise_into(Reader& reader, T& value) {
    const std::byte* const source = reader.view(sizeof(T));
    // The byte of an empty member ([[no_unique_address]]) may belong to another.
    if constexpr (!std::is_empty_v<T>) copy_bytes<T>(std::addressof(value), source, sizeof(T));
}

template <Bitwise T>
T decode_bitwise(Reader& reader) {
    std::array<std::byte, sizeof(T)> bytes;
    copy_bytes<T>(bytes.data(), reader.view(sizeof(T)), sizeof(T));
    return std::bit_cast<T>(bytes);
}

// ---- elements in one piece ----------------------------------------------------------------------

/// The alignment that elements of type `T` keep in the encoded bytes.
template <class T>
inline constexpr std::size_t element_alignment = std::min(alignof(T), wire_alignment);

/// Appends the number of elements and the elements, making room once.
template <Bitwise T>
void encode_elements(Writer& writer, const T* elements, std::size_t count) {
    const std::uint64_t wire_count = count;
    const std::size_t start = writer.size() + sizeof wire_count;
    const std::size_t padding =
        (element_alignment<T> - start % element_alignment<T>) % element_alignment<T>;
    std::byte* place = writer.reserve(sizeof wire_count + padding + count * sizeof(T));
    std::memcpy(place, &wire_count, sizeof wire_count);
    place += sizeof wire_count;
    if (padding != 0) std::memset(place, 0, padding);
    if (count != 0) std::memcpy(place + padding, elements, count * sizeof(T));
}

/// Elements of type `T` as they lie in the encoded bytes.
template <Bitwise T>
struct EncodedElements {
    const std::byte* bytes;
    std::size_t count;

    /// Do the bytes lie so that they can be used as objects where they are?
    [[nodiscard]] bool is_aligned() const {
        return reinterpret_cast<std::uintptr_t>(bytes) % alignof(T) == 0;
    }
    [[nodiscard]] const T* objects() const {
        return static_cast<const T*>(static_cast<const void*>(bytes));
    }
};

/// Passes over what `encode_elements` wrote. Throws `CodecError` if it does not fit the bytes left.
template <Bitwise T>
EncodedElements<T> view_elements(Reader& reader) {
    std::uint64_t count = 0;
    reader.read(&count, sizeof count);
    // The bytes may change at any time: the number that is checked must be the one that is used.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    reader.align(element_alignment<T>);
    if (count > reader.remaining() / sizeof(T))
        throw CodecError("the encoded bytes announce " + std::to_string(count) + " elements of " +
                         std::to_string(sizeof(T)) + " bytes, but only " +
                         std::to_string(reader.remaining()) + " bytes are left");
    const auto size = static_cast<std::size_t>(count);
    return {reader.view(size * sizeof(T)), size};
}

template <Contiguous T>
void encode_contiguous(Writer& writer, const T& value) {
    using Element = typename T::value_type;
    const Element* const elements = value.size() == 0 ? nullptr : &value[0];
    encode_elements<Element>(writer, elements, value.size());
}

template <Contiguous T>
T decode_contiguous(Reader& reader) {
    using Element = typename T::value_type;
    const EncodedElements<Element> elements = view_elements<Element>(reader);
    if constexpr (is_a<T, std::valarray>) {
        T value(elements.count);
        if (elements.count != 0)
            copy_bytes<Element>(&value[0], elements.bytes, elements.count * sizeof(Element));
        return value;
    } else {
        // The usual case: from the bytes to the new elements at once, without first setting them
        // to zero.
        const bool is_usual = !is_all_bool<Element>() && elements.is_aligned();
        if (is_usual && elements.count < huge_pages_from / sizeof(Element))
            return T(elements.objects(), elements.objects() + elements.count);
        T value;
        value.reserve(elements.count);
        if (is_usual) {
            prefer_huge_pages(value.data(), elements.count * sizeof(Element));
            value.assign(elements.objects(), elements.objects() + elements.count);
            return value;
        }
        Reader one_by_one({elements.bytes, elements.count * sizeof(Element)});
        for (std::size_t i = 0; i < elements.count; ++i)
            value.push_back(decode_bitwise<Element>(one_by_one));
        return value;
    }
}

// ---- function objects of containers -------------------------------------------------------------

/// A function object that holds nothing.
template <Stateless F>
F make_stateless() {
    if constexpr (std::is_default_constructible_v<F>) {
        return F{};
    } else {
        // Such as [&] that captures nothing. GCC 12 does not always let std::bit_cast do it.
        alignas(F) std::byte place[sizeof(F)] = {};
        return *std::launder(reinterpret_cast<F*>(place));
    }
}

/// Makes every `BoolLike` that can be seen in `value` true or false, whatever bytes it has.
template <class T>
void mend_bools(T& value) {
    if constexpr (BoolLike<T>) {
        copy_bytes<T>(std::addressof(value), reinterpret_cast<std::byte*>(std::addressof(value)),
                      sizeof(T));
    } else if constexpr (is_standard_array<T>) {
        for (auto& element : value) mend_bools(element);
    } else if constexpr (!std::is_const_v<T> && !has_serialization<T> &&
                         !is_bitwise_transferable<T> && Reflectable<T>) {
        for_each_member(value, [](auto& member) { mend_bools(member); });
    }
}

// ---- one value inside an archive ----------------------------------------------------------------

/// How many levels of nesting a value counts for. Nothing nests without end but by classes of the
/// user's, which contain themselves by containers and pointers.
template <class T>
inline constexpr std::size_t nesting_of = StandardType<T> ? 0 : 1;

template <class T>
void EncodeArchive::item(const T& value) {
    if constexpr (is_a<T, cereal::NameValuePair>) {
        item(value.value);
    } else if constexpr (is_a<T, cereal::SizeTag> || is_a<T, cereal::BinaryData>) {
        CEREAL_SAVE_FUNCTION_NAME(*this, value);
    } else if constexpr (CerealWrapper<T>) {
        Base::operator()(value);
    } else if constexpr (std::is_array_v<T> && !Bitwise<T>) {
        for (const auto& element : value) item(element);
    } else if constexpr (require_encodable<T>()) {
        if constexpr (encoding_of<T>() == Encoding::bitwise) {
            encode_bitwise(writer_, value);
        } else if constexpr (encoding_of<T>() == Encoding::contiguous) {
            encode_contiguous(writer_, value);
        } else if constexpr (encoding_of<T>() == Encoding::path) {
            encode_contiguous(writer_, value.native());
        } else {
            const NestingGuard guard(depth_, nesting_of<T>, writer_.max_nesting());
            const std::size_t start = writer_.size();
            nested_item(value);
            if (writer_.size() == start) item(std::uint8_t{0}); // as in `encode_bitwise`
        }
    }
}

template <class T>
void EncodeArchive::nested_item(const T& value) {
    if constexpr (Parcel<T>) {
        item(HandleAccess::parts(value, writer_));
    } else if constexpr (encoding_of<T>() == Encoding::handle) {
        writer_.require_family();
        item(HandleAccess::parts(value));
    } else if constexpr (encoding_of<T>() == Encoding::optional) {
        item(value.has_value());
        if (value) item(*value);
    } else if constexpr (encoding_of<T>() == Encoding::variant) {
        if (value.valueless_by_exception())
            throw CodecError("a std::variant that is valueless by exception cannot be encoded");
        item(static_cast<std::uint32_t>(value.index()));
        std::visit([&](const auto& alternative) { item(alternative); }, value);
    } else if constexpr (encoding_of<T>() == Encoding::valarray ||
                         encoding_of<T>() == Encoding::sequence) {
        sequence(value);
    } else if constexpr (encoding_of<T>() == Encoding::associative) {
        if constexpr (requires { value.hash_function(); }) {
            function(value.hash_function());
            function(value.key_eq());
        } else {
            function(value.key_comp());
        }
        sequence(value);
    } else if constexpr (encoding_of<T>() == Encoding::priority_queue) {
        function(cereal::queue_detail::comparator(value));
        item(cereal::queue_detail::container(value));
    } else if constexpr (encoding_of<T>() == Encoding::unique_ptr) {
        item(value != nullptr);
        if (value != nullptr) item(*value);
    } else if constexpr (encoding_of<T>() == Encoding::parts) {
        if constexpr (is_standard_array<T>) {
            for (const auto& element : value) item(element);
        } else {
            std::apply([&](const auto&... part) { (item(part), ...); }, value);
        }
    } else if constexpr (encoding_of<T>() == Encoding::cereal) {
        Base::operator()(value);
    } else {
        for_each_member(value, [&](const auto& member) { item(member); });
    }
}

template <class F>
void EncodeArchive::function(const F& function) {
    if constexpr (!Stateless<F>) item(function);
}

template <class T>
void EncodeArchive::sequence(const T& value) {
    const auto count = std::distance(std::begin(value), std::end(value));
    item(cereal::make_size_tag(static_cast<std::size_t>(count)));
    for (const auto& element : value) item(element);
}

template <class T>
void DecodeArchive::item(T& value) {
    using Value = std::remove_const_t<T>;
    if constexpr (is_a<Value, cereal::NameValuePair>) {
        item(value.value);
    } else if constexpr (is_a<Value, cereal::SizeTag> || is_a<Value, cereal::BinaryData>) {
        CEREAL_LOAD_FUNCTION_NAME(*this, value);
    } else if constexpr (CerealWrapper<Value>) {
        if constexpr (is_a<Value, cereal::memory_detail::PtrWrapper>) {
            using Pointer = std::remove_cvref_t<decltype(value.ptr)>;
            expected_shared_type_ = &typeid(typename Pointer::element_type);
        }
        // An object that is about to be made by its load_and_construct is nested as any other.
        constexpr std::size_t levels =
            is_a<Value, cereal::memory_detail::LoadAndConstructLoadWrapper> ? 1 : 0;
        const NestingGuard guard(depth_, levels, reader_.max_nesting());
        Base::operator()(value);
    } else if constexpr (std::is_array_v<T> && !Bitwise<T>) {
        for (auto& element : value) item(element);
    } else if constexpr (std::is_const_v<T>) {
        refuse<Obstacle::const_member, T>();
    } else if constexpr (require_transferable<T, InPlace>()) {
        if constexpr (encoding_of<T>() == Encoding::bitwise) {
            decode_bitwise_into(reader_, value);
        } else if constexpr (encoding_of<T>() == Encoding::cereal) {
            const NestingGuard guard(depth_, nesting_of<T>, reader_.max_nesting());
            const std::size_t start = reader_.remaining();
            cereal_item(value);
            if (reader_.remaining() == start) reader_.view(1);
        } else if constexpr (is_standard_array<T>) {
            for (auto& element : value) item(element);
            if constexpr (std::tuple_size_v<T> == 0) reader_.view(1);
        } else if constexpr (std::is_move_assignable_v<T>) {
            value = read<T>();
        } else {
            const NestingGuard guard(depth_, nesting_of<T>, reader_.max_nesting());
            for_each_member(value, [&](auto& member) { item(member); });
        }
    }
}

template <class T>
inline constexpr bool is_bitset = false;
template <std::size_t Bits>
inline constexpr bool is_bitset<std::bitset<Bits>> = true;

template <class T>
void DecodeArchive::cereal_item(T& value) {
    if constexpr (is_bitset<T>) {
        // cereal takes it as text, too, of which the standard library says what is wrong.
        try {
            Base::operator()(value);
        } catch (const std::invalid_argument& error) {
            throw CodecError(error.what());
        }
    } else {
        Base::operator()(value);
    }
}

template <class T>
T DecodeArchive::read() {
    if constexpr (encoding_of<T>() == Encoding::bitwise) {
        return decode_bitwise<T>(reader_);
    } else if constexpr (encoding_of<T>() == Encoding::contiguous) {
        return decode_contiguous<T>(reader_);
    } else if constexpr (encoding_of<T>() == Encoding::handle) {
        return HandleAccess::make<T>(read<HandleAccess::Parts<T>>());
    } else if constexpr (encoding_of<T>() == Encoding::path) {
        return T(decode_contiguous<typename T::string_type>(reader_));
    } else if constexpr (encoding_of<T>() == Encoding::optional) {
        if (!read<bool>()) return std::nullopt;
        return T(std::in_place, read<std::remove_cv_t<typename T::value_type>>());
    } else if constexpr (encoding_of<T>() == Encoding::variant) {
        return read_variant<T>(read<std::uint32_t>());
    } else if constexpr (encoding_of<T>() == Encoding::valarray) {
        T value(read_count());
        for (auto& element : value) item(element);
        return value;
    } else if constexpr (encoding_of<T>() == Encoding::sequence) {
        return read_sequence<T>();
    } else if constexpr (encoding_of<T>() == Encoding::associative) {
        return read_associative<T>();
    } else if constexpr (encoding_of<T>() == Encoding::priority_queue) {
        auto less = read_function<typename T::value_compare>();
        return T(std::move(less), read<typename T::container_type>());
    } else if constexpr (encoding_of<T>() == Encoding::unique_ptr) {
        using Pointee = std::remove_cv_t<typename T::element_type>;
        return read<bool>() ? T(new Pointee(read<Pointee>())) : T();
    } else if constexpr (encoding_of<T>() == Encoding::parts) {
        if constexpr (is_standard_array<T>) {
            return read_array<T>();
        } else {
            return read_parts<T>(typename ElementsOf<T>::type{});
        }
    } else if constexpr (encoding_of<T>() == Encoding::members) {
        const NestingGuard guard(depth_, nesting_of<T>, reader_.max_nesting());
        return [&]<std::size_t... Index>(std::index_sequence<Index...>) {
            return read_parts<T>(Types<MemberType<T, Index>...>{});
        }(std::make_index_sequence<member_count<T>>{});
    } else if constexpr (std::is_default_constructible_v<T>) {
        T value{};
        item(value);
        return value;
    } else {
        const std::unique_ptr<T> value(cereal::access::construct<T>());
        item(*value);
        return std::move(*value);
    }
}

inline std::size_t DecodeArchive::read_count() {
    std::size_t count = 0;
    (*this)(cereal::make_size_tag(count));
    return count;
}

template <class T>
T DecodeArchive::read_sequence() {
    using Element = typename T::value_type;
    T value;
    std::size_t count = read_count();
    if constexpr (requires { value.reserve(count); }) value.reserve(count);
    if constexpr (is_a<T, std::forward_list>) {
        for (auto last = value.before_begin(); count != 0; --count)
            last = value.insert_after(last, read<Element>());
    } else {
        for (; count != 0; --count) value.push_back(read<Element>());
    }
    return value;
}

template <class T>
T DecodeArchive::read_associative() {
    auto value = [this] {
        if constexpr (requires { typename T::hasher; }) {
            auto hash = read_function<typename T::hasher>();
            return T(0, std::move(hash), read_function<typename T::key_equal>());
        } else {
            return T(read_function<typename T::key_compare>());
        }
    }();
    for (std::size_t count = read_count(); count != 0; --count) {
        // At the end, which is right for ordered containers, and keeps the order of equal keys.
        if constexpr (requires { typename T::mapped_type; }) {
            auto key = read<typename T::key_type>();
            value.emplace_hint(value.end(), std::move(key), read<typename T::mapped_type>());
        } else {
            value.emplace_hint(value.end(), read<typename T::key_type>());
        }
    }
    return value;
}

template <class F>
F DecodeArchive::read_function() {
    if constexpr (Stateless<F>) {
        return make_stateless<F>();
    } else {
        auto function = read<F>();
        mend_bools(function); // it is called while the container is decoded
        return function;
    }
}

template <class T, class... Parts>
T DecodeArchive::read_parts(Types<Parts...>) {
    if constexpr (sizeof...(Parts) == 0) reader_.view(1); // as in `encode_bitwise`
    return T{read<std::remove_cv_t<Parts>>()...};         // braces: from the first to the last
}

template <class T>
T DecodeArchive::read_array() {
    using Element = std::remove_cv_t<typename T::value_type>;
    if constexpr (std::is_default_constructible_v<T> && std::is_move_assignable_v<T>) {
        T value{};
        item(value);
        return value;
    } else {
        return [this]<std::size_t... Index>(std::index_sequence<Index...>) {
            return T{{(static_cast<void>(Index), read<Element>())...}};
        }(std::make_index_sequence<std::tuple_size_v<T>>{});
    }
}

template <class Variant, std::size_t Index>
Variant DecodeArchive::read_variant(std::size_t index) {
    if constexpr (Index == std::variant_size_v<Variant>) {
        throw CodecError("the encoded bytes choose alternative " + std::to_string(index) +
                         " of a std::variant with " + std::to_string(Index));
    } else {
        if (index != Index) return read_variant<Variant, Index + 1>(index);
        return Variant(std::in_place_index<Index>,
                       read<std::remove_cv_t<std::variant_alternative_t<Index, Variant>>>());
    }
}

} // namespace prong::detail
