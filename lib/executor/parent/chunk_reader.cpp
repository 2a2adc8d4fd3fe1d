#include <prong/detail/chunk.hpp>

#include "codec/exception.hpp"

#include <prong/error.hpp>

namespace prong::detail {
namespace {

/// Reads what `encode_element_failure` wrote.
Reader read_failure(Reader& reader) {
    const auto size = decode<std::uint64_t>(reader);
    Reader failure(std::span(reader.view(size), size));
    failure.set_max_nesting(reader.max_nesting());
    return failure;
}

} // namespace

ChunkReader::ChunkReader(const Reader& result, std::size_t elements, std::size_t value_bytes)
    : value_bytes_(value_bytes), left_(elements), reader_(result) {
    if (value_bytes == 0) return;
    if (elements > reader_.remaining() / value_bytes)
        throw CodecError("a map result has fewer values than elements");
    values_ = {reader_.view(elements * value_bytes), elements * value_bytes};
    std::uint64_t next = 0;
    for (auto count = decode<std::uint64_t>(reader_); count != 0; --count) {
        const auto position = decode<std::uint64_t>(reader_);
        if (position < next || position >= elements)
            throw CodecError("a map result has an exception of no element");
        failures_.push_back({.position = position, .exception = read_failure(reader_)});
        next = position + 1;
    }
}

Reader ChunkReader::value() {
    if (value_bytes_ != 0) {
        if (!failures_.empty() && failures_.front().position == position_) {
            Reader exception = failures_.front().exception;
            std::rethrow_exception(codec::decode_exception(exception));
        }
        return Reader(values_.subspan(position_ * value_bytes_, value_bytes_));
    }
    Reader reader = reader_;
    const auto kind = decode<std::uint8_t>(reader);
    if (kind == element_returned) return reader;
    if (kind != element_thrown)
        throw CodecError("an element of a map result is neither a value nor an exception");
    Reader exception = read_failure(reader);
    end_ = reader;
    std::rethrow_exception(codec::decode_exception(exception));
}

void ChunkReader::next(std::size_t count) {
    left_ -= count;
    if (value_bytes_ == 0) {
        reader_ = *end_;
        end_.reset();
        return;
    }
    position_ += count;
    if (!failures_.empty() && failures_.front().position < position_) failures_.pop_front();
}

std::span<const std::byte> ChunkReader::values() const {
    const std::uint64_t end = failures_.empty() ? position_ + left_ : failures_.front().position;
    return value_bytes_ == 0
               ? std::span<const std::byte>()
               : values_.subspan(position_ * value_bytes_, (end - position_) * value_bytes_);
}

std::optional<std::chrono::nanoseconds> ChunkReader::elapsed() {
    if (left_ != 0 || reader_.remaining() < sizeof(std::int64_t)) return std::nullopt;
    return std::chrono::nanoseconds(decode<std::int64_t>(reader_));
}

} // namespace prong::detail
