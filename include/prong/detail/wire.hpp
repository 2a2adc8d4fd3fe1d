#pragma once

#include <prong/detail/export.hpp>

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace prong::detail {

class Pledges;

/// The strictest alignment that encoded bytes keep on both sides; a view into them
/// (`std::span<const T>`) therefore needs `alignof(T) <= wire_alignment`.
inline constexpr std::size_t wire_alignment = 16;

/// How many objects may lie within each other in a value, if nothing else is said.
inline constexpr std::size_t default_max_nesting = 1000;

/// A window into memory that encoded bytes are written to, front to back. When the window is
/// full, `grow` puts a larger one in its place and moves what is already there.
///
/// Thread safety: one thread at a time.
class PRONG_API Writer {
public:
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    /// Appends `size` bytes. Throws what `grow` throws.
    void write(const void* data, std::size_t size) {
        if (size != 0) std::memcpy(reserve(size), data, size);
    }

    /// Makes room for `size` bytes: writing them then moves nothing, and does not throw.
    void make_room(std::size_t size) {
        if (size > static_cast<std::size_t>(end_ - position_)) grow(size);
    }

    /// Appends `size` bytes for the caller to fill; the pointer is good until the next call.
    std::byte* reserve(std::size_t size) {
        make_room(size);
        std::byte* const place = position_;
        position_ += size;
        return place;
    }

    /// Appends zero bytes until the size is a multiple of `alignment` (at most `wire_alignment`).
    void align(std::size_t alignment) {
        const std::size_t padding = (alignment - size() % alignment) % alignment;
        if (padding != 0) std::memset(reserve(padding), 0, padding);
    }

    /// Takes back everything after the first `size` bytes.
    void rewind(std::size_t size) { position_ = begin_ + size; }

    [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(position_ - begin_); }
    [[nodiscard]] const std::byte* data() const { return begin_; }

    /// How many objects may lie within each other.
    [[nodiscard]] std::size_t max_nesting() const { return max_nesting_; }

    /// The parcels among what was written. Throws `CodecError` if there must be none.
    virtual Pledges& pledges();

    // What only processes of the fork family understand. Both throw `std::invalid_argument` if the
    // bytes may leave the family.

    /// Called before the name of an object that the family shares is written.
    virtual void require_family() const;
    /// Called with the bytes of captured variables, which may be addresses.
    virtual void check_captures(std::span<const std::byte> captures) const;

protected:
    explicit Writer(std::size_t max_nesting) : max_nesting_(max_nesting) {}
    ~Writer() = default;

    void set_window(std::byte* begin, std::size_t size, std::size_t capacity) {
        begin_ = begin;
        position_ = begin + size;
        end_ = begin + capacity;
    }

private:
    /// Makes room for `more` bytes after `size()`, keeping what was written, by `set_window`.
    virtual void grow(std::size_t more) = 0;

    std::byte* begin_ = nullptr;
    std::byte* position_ = nullptr;
    std::byte* end_ = nullptr;
    std::size_t max_nesting_;
};

/// A writer into memory of its own.
class PRONG_API BufferWriter : public Writer {
public:
    explicit BufferWriter(std::size_t max_nesting = default_max_nesting) : Writer(max_nesting) {}
    virtual ~BufferWriter() = default;

    [[nodiscard]] std::span<const std::byte> bytes() const { return {data(), size()}; }

private:
    void grow(std::size_t more) override;

    std::vector<std::byte> buffer_;
};

/// A writer of a message to another process.
class PRONG_API MessageWriter final : public BufferWriter {
public:
    MessageWriter() noexcept;
    ~MessageWriter() override;

    Pledges& pledges() override;
    /// The message was sent: its parcels are the receiver's.
    void post() noexcept;
    /// The handles of the parcels may end before the message is sent.
    void forget_handles() noexcept;

private:
    std::unique_ptr<Pledges> pledges_;
};

/// Reads encoded bytes, front to back. The bytes may have been written by a process that
/// corrupts memory: every read is checked against the bytes that are left, and throws `CodecError`
/// past them.
///
/// Thread safety: one thread at a time.
class PRONG_API Reader {
public:
    Reader() = default;
    explicit Reader(std::span<const std::byte> bytes)
        : begin_(bytes.data()), position_(bytes.data()), end_(bytes.data() + bytes.size()) {}

    /// Copies the next `size` bytes to `target`.
    void read(void* target, std::size_t size) {
        if (size != 0) std::memcpy(target, view(size), size);
    }

    /// The next `size` bytes where they lie.
    const std::byte* view(std::size_t size) {
        if (size > remaining()) throw_truncated(size);
        const std::byte* const place = position_;
        position_ += size;
        return place;
    }

    /// Passes over what `Writer::align` put in.
    void align(std::size_t alignment) {
        const auto offset = static_cast<std::size_t>(position_ - begin_);
        view((alignment - offset % alignment) % alignment);
    }

    [[nodiscard]] std::size_t remaining() const {
        return static_cast<std::size_t>(end_ - position_);
    }

    /// How many objects may lie within each other.
    [[nodiscard]] std::size_t max_nesting() const { return max_nesting_; }
    void set_max_nesting(std::size_t most) { max_nesting_ = most; }

private:
    [[noreturn]] void throw_truncated(std::size_t wanted) const;

    const std::byte* begin_ = nullptr;
    const std::byte* position_ = nullptr;
    const std::byte* end_ = nullptr;
    std::size_t max_nesting_ = default_max_nesting;
};

} // namespace prong::detail
