#pragma once

#include "ipc/frame.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace prong::detail {

/// Where the bytes of messages come from: first those that have been received already.
struct MessageSource {
    int fd;
    std::span<const std::byte> arrived = {};
    /// How many bytes may be received without blocking; nothing: it blocks.
    std::optional<std::size_t> budget = std::nullopt;
    bool is_closed = false; ///< by the peer, as `receive` has found

    /// Fills the buffer, unless the peer is closed, or bytes are lacking and it must not block.
    /// Returns the number of bytes.
    std::size_t receive(std::span<std::byte> buffer);
};

/// Receives messages. Keeps the part of a message that has arrived.
///
/// Thread safety: one thread at a time.
class Incoming {
public:
    /// Receives the next message. Returns nothing if the message is not complete and the source
    /// must not block. Throws `EndOfFile` or `CodecError`; or `std::bad_alloc`, and discards the
    /// message the next time.
    std::optional<std::vector<std::byte>> receive(MessageSource& source);
    /// Receives the rest of the message that is to be discarded. Blocks.
    void discard(MessageSource& source);

private:
    bool receive_header(MessageSource& source);
    bool fill_header(MessageSource& source, std::size_t wanted);
    bool receive_body(MessageSource& source);
    bool skip_body(MessageSource& source);
    bool receive_part(MessageSource& source, std::span<std::byte> part);

    std::array<std::byte, ipc::size_bytes + ipc::large_size_bytes> header_{};
    std::size_t header_bytes_ = 0;      ///< have arrived
    std::optional<std::uint64_t> size_; ///< of the message, if its header is complete
    std::uint64_t missing_ = 0;         ///< bytes of the message
    bool is_discarded_ = false;
    std::vector<std::byte> message_; ///< what has arrived, and room for more
};

} // namespace prong::detail
