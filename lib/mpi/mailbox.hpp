#pragma once

#include "mpi/channel.hpp"
#include "mpi/wire.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>

namespace prong::mpi {

/// What is sent to one peer: entries, collected to batches, and large payloads, in pieces.
class Outbox {
public:
    Outbox(Channel& channel, int peer) : channel_(&channel), peer_(peer) {}

    /// Adds an entry. Copies its bytes if they are few. Otherwise they must stay until `done` is
    /// called; without `done`, until the peer has answered.
    void add(EntryHead head, std::span<const std::byte> bytes, const SentOptions* options = nullptr,
             std::function<void()> done = nullptr);

    template <class T>
    void add_value(EntryKind kind, const T& value) {
        batch_.add_value(kind, value);
    }

    /// Sends what is due. `is_last`: nothing is about to follow, so the batch need not wait for
    /// more entries. Returns whether anything was sent.
    bool flush(std::int64_t now_ns, bool is_last);

    /// Returns whether there is nothing left to send.
    [[nodiscard]] bool is_empty() const {
        return batch_.empty() && large_.empty() && channel_->sending(peer_) == 0;
    }
    /// Returns whether the peer takes so little that no further entry should wait for it.
    [[nodiscard]] bool is_congested() const { return channel_->sending(peer_) >= most_sending; }

private:
    struct Large {
        std::span<const std::byte> rest;
        std::function<void()> done;
    };

    /// How many messages may be on their way to a peer before further entries wait.
    static constexpr std::size_t most_sending = 8;
    static constexpr std::int64_t batch_age_ns = 20'000;

    bool send_pieces();

    Channel* channel_;
    int peer_;
    Batch batch_;
    std::int64_t begun_ns_ = 0; ///< when the batch was seen first; 0: not yet
    std::deque<Large> large_;
    std::size_t announced_ = 0; ///< how many of these the peer has been told of
    std::size_t pieces_ = 0;    ///< on their way
};

/// The large payloads that one peer sends.
class Inbox {
public:
    struct Large {
        EntryHead head;
        std::optional<SentOptions> options;
        std::span<std::byte> place; ///< empty: there is no room, and the payload is dropped
        std::size_t placed = 0;
        std::size_t arrived = 0;
    };

    /// Notes that the payload of an entry follows.
    void expect(const Entry& entry, std::span<std::byte> place);

    /// Returns where the next piece is to be received.
    std::span<std::byte> place(std::size_t size);

    /// Notes that the next piece has arrived. Returns the large payload if it is complete.
    std::optional<Large> arrived(std::size_t size);

    /// Returns where the next piece that arrives belongs, for pieces that were received elsewhere.
    [[nodiscard]] std::span<std::byte> next(std::size_t size) const;

    /// Drops the payloads that are on their way: their places are not theirs any more.
    void forget_places();

    [[nodiscard]] bool is_empty() const { return large_.empty(); }
    /// Returns whether the payload of this task is on its way.
    [[nodiscard]] bool expects(std::uint64_t number) const;

private:
    std::deque<Large> large_;
};

} // namespace prong::mpi
