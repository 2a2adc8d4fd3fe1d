#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

/// How a message lies in the stream, as in CPython's `multiprocessing.connection`: its size as a
/// signed number of 4 bytes, then its bytes. The size of a larger message is -1 in these 4 bytes,
/// then an unsigned number of 8 bytes. All numbers are big-endian.
namespace prong::ipc {

inline constexpr std::size_t size_bytes = 4;
inline constexpr std::size_t large_size_bytes = 8;
inline constexpr std::uint64_t largest_size = 0x7fffffff; ///< that fits into `size_bytes`
inline constexpr std::uint64_t large_mark = 0xffffffff;   ///< -1: the larger number follows

/// Reads a big-endian number.
inline std::uint64_t read_number(std::span<const std::byte> bytes) {
    std::uint64_t number = 0;
    for (const std::byte byte : bytes) number = number << 8 | std::to_integer<std::uint64_t>(byte);
    return number;
}

/// What stands in front of a message.
class FrameHeader {
public:
    explicit FrameHeader(std::uint64_t message_bytes) {
        if (message_bytes <= largest_size) {
            append(message_bytes, size_bytes);
        } else {
            append(large_mark, size_bytes);
            append(message_bytes, large_size_bytes);
        }
    }

    [[nodiscard]] std::span<const std::byte> bytes() const {
        return std::span(bytes_).first(size_);
    }

private:
    void append(std::uint64_t number, std::size_t bytes) {
        for (std::size_t left = bytes; left != 0; --left)
            bytes_[size_++] = static_cast<std::byte>(number >> 8 * (left - 1));
    }

    std::array<std::byte, size_bytes + large_size_bytes> bytes_{};
    std::size_t size_ = 0;
};

} // namespace prong::ipc
