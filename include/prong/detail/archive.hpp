#pragma once

#include <prong/detail/wire.hpp>
#include <prong/error.hpp>

// Class versions live in a table of cereal's that several threads may look into at once.
#ifndef CEREAL_THREAD_SAFE
#define CEREAL_THREAD_SAFE 1
#endif

#include <cereal/cereal.hpp>
#include <cereal/types/array.hpp>
#include <cereal/types/atomic.hpp>
#include <cereal/types/base_class.hpp>
#include <cereal/types/bitset.hpp>
#include <cereal/types/chrono.hpp>
#include <cereal/types/complex.hpp>
#include <cereal/types/deque.hpp>
#include <cereal/types/forward_list.hpp>
#include <cereal/types/list.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/polymorphic.hpp>
#include <cereal/types/queue.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/stack.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/unordered_set.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <typeinfo>
#include <unordered_map>

/// \file
/// The two archives through which cereal reaches encoded bytes. A type's `serialize(archive)` calls
/// `archive(member, ...)`, which comes back to `item` for each member: there prong does by itself
/// what it does faster or more carefully (items.hpp), and leaves the rest to cereal.

namespace prong::detail {

/// Counts levels of nesting for as long as it lives. Throws `CodecError` when there are too many:
/// bytes from a corrupting process could else exhaust the stack with a long enough list.
class NestingGuard {
public:
    NestingGuard(std::size_t& depth, std::size_t levels, std::size_t most)
        : depth_(depth), levels_(levels) {
        if (depth_ + levels > most)
            throw CodecError("a value is nested too deeply to be encoded or decoded: more than " +
                             std::to_string(most) +
                             " objects lie within each other (the limit of a pool is "
                             "PoolOptions::max_nesting)");
        depth_ += levels;
    }
    ~NestingGuard() { depth_ -= levels_; }
    NestingGuard(const NestingGuard&) = delete;
    NestingGuard& operator=(const NestingGuard&) = delete;

private:
    std::size_t& depth_;
    std::size_t levels_;
};

template <class... Ts>
struct Types {};

/// Encodes by cereal into a `Writer`.
class EncodeArchive final
    : public cereal::OutputArchive<EncodeArchive, cereal::AllowEmptyClassElision> {
    using Base = cereal::OutputArchive<EncodeArchive, cereal::AllowEmptyClassElision>;

public:
    explicit EncodeArchive(Writer& writer) : Base(this), writer_(writer) {}

    template <class... Values>
    EncodeArchive& operator()(Values&&... values) {
        (item(values), ...);
        return *this;
    }
    template <class Value>
    EncodeArchive& operator&(Value&& value) {
        return (*this)(value);
    }
    template <class Value>
    EncodeArchive& operator<<(Value&& value) {
        return (*this)(value);
    }

    Writer& writer() { return writer_; }

private:
    template <class T>
    void item(const T& value);
    template <class T>
    void nested_item(const T& value);
    template <class T>
    void sequence(const T& value);
    template <class F>
    void function(const F& function);

    Writer& writer_;
    std::size_t depth_ = 0;
};

/// Decodes by cereal from a `Reader`. Whatever the bytes say, the outcome is a value or an
/// exception.
class DecodeArchive final
    : public cereal::InputArchive<DecodeArchive, cereal::AllowEmptyClassElision> {
    using Base = cereal::InputArchive<DecodeArchive, cereal::AllowEmptyClassElision>;

public:
    explicit DecodeArchive(Reader& reader) : Base(this), reader_(reader) {}

    template <class... Values>
    DecodeArchive& operator()(Values&&... values) {
        (item(values), ...);
        return *this;
    }
    template <class Value>
    DecodeArchive& operator&(Value&& value) {
        return (*this)(value);
    }
    template <class Value>
    DecodeArchive& operator>>(Value&& value) {
        return (*this)(value);
    }

    Reader& reader() { return reader_; }

    /// The next value, for types that need not be default constructible.
    template <class T>
    T read();

    // Called by cereal's loaders of shared pointers, in place of the base's functions of these
    // names, which would hand out an object of one type as an object of another.
    template <class T>
    void registerSharedPointer(std::uint32_t id, std::shared_ptr<T> pointer) {
        shared_types_.insert_or_assign(id & ~cereal::detail::msb_32bit, expected_shared_type_);
        Base::registerSharedPointer(id, std::move(pointer));
    }
    std::shared_ptr<void> getSharedPointer(std::uint32_t id) {
        const auto known = shared_types_.find(id);
        if (id != 0 && (known == shared_types_.end() || *known->second != *expected_shared_type_))
            throw CodecError("the encoded bytes refer to a shared object that is not there");
        return Base::getSharedPointer(id);
    }

private:
    template <class T>
    void item(T& value);
    template <class T>
    void cereal_item(T& value);
    template <class T, class... Parts>
    T read_parts(Types<Parts...>);
    template <class T>
    T read_array();
    template <class T>
    T read_sequence();
    template <class T>
    T read_associative();
    template <class F>
    F read_function();
    std::size_t read_count();
    template <class Variant, std::size_t Index = 0>
    Variant read_variant(std::size_t index);

    Reader& reader_;
    std::size_t depth_ = 0;
    /// The pointee of the shared pointer that is being read.
    const std::type_info* expected_shared_type_ = &typeid(void);
    /// The pointee of each shared pointer that was read, by id.
    std::unordered_map<std::uint32_t, const std::type_info*> shared_types_;
};

// cereal looks for these to see what an archive can do, and calls them for what does not go through
// the archive's own operator(): class versions and the results of save_minimal.

template <class T>
    requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(EncodeArchive& archive, const T& value) {
    archive(value);
}

template <class T>
    requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(DecodeArchive& archive, T& value) {
    archive(value);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(EncodeArchive& archive, const cereal::NameValuePair<T>& pair) {
    archive(pair.value);
}

template <class T>
void CEREAL_LOAD_FUNCTION_NAME(DecodeArchive& archive, cereal::NameValuePair<T>& pair) {
    archive(pair.value);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(EncodeArchive& archive, const cereal::SizeTag<T>& tag) {
    const auto count = static_cast<std::uint64_t>(tag.size);
    archive.writer().write(&count, sizeof count);
}

template <class T>
void CEREAL_LOAD_FUNCTION_NAME(DecodeArchive& archive, cereal::SizeTag<T>& tag) {
    std::uint64_t count = 0;
    archive.reader().read(&count, sizeof count);
    // Every element takes at least one byte (see `EncodeArchive::item`), so this is the check to
    // make before a loader makes room for them.
    if (count > archive.reader().remaining())
        throw CodecError("the encoded bytes announce " + std::to_string(count) +
                         " elements, but only " + std::to_string(archive.reader().remaining()) +
                         " bytes are left");
    tag.size = static_cast<std::remove_reference_t<decltype(tag.size)>>(count);
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(EncodeArchive& archive, const cereal::BinaryData<T>& data) {
    archive.writer().write(data.data, static_cast<std::size_t>(data.size));
}

template <class T>
void CEREAL_LOAD_FUNCTION_NAME(DecodeArchive& archive, cereal::BinaryData<T>& data) {
    archive.reader().read(data.data, static_cast<std::size_t>(data.size));
}

} // namespace prong::detail

CEREAL_SETUP_ARCHIVE_TRAITS(prong::detail::DecodeArchive, prong::detail::EncodeArchive)
CEREAL_REGISTER_ARCHIVE(prong::detail::EncodeArchive)
CEREAL_REGISTER_ARCHIVE(prong::detail::DecodeArchive)
