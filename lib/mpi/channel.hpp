#pragma once

#include <prong/error.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// Messages between rank 0 and the ranks that serve. Only this file and its source know MPI.
namespace prong::mpi {

/// What kind of message it is: MPI's tag.
enum class Tag : std::uint8_t {
    entries, ///< a sequence of entries (`wire.hpp`)
    piece,   ///< the next piece of a large payload
};

/// MPI reported an error.
class MpiError : public Error {
public:
    static constexpr int no_peer = -1;

    explicit MpiError(const std::string& what, int peer = no_peer) : Error(what), peer_(peer) {}

    /// Returns the rank with which messages were exchanged, or `no_peer`.
    [[nodiscard]] int peer() const { return peer_; }

private:
    int peer_;
};

/// This process as a rank of the job. Nothing blocks, except for the constructor and `finish`. All
/// functions but the destructor throw `MpiError`.
///
/// Thread safety: one thread.
class Channel {
public:
    /// Calls MPI_Init, which waits for all ranks of the job.
    Channel();
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    ~Channel();

    [[nodiscard]] int rank() const { return rank_; }
    [[nodiscard]] int size() const { return size_; }

    /// Returns how many ranks but rank 0 are on this host. All ranks must call it at the same time.
    [[nodiscard]] int servers_here() const;

    /// Begins to send a message and keeps its bytes until that is done.
    void send(int peer, Tag tag, std::vector<std::byte> bytes);
    /// The same for bytes that stay where they are until `done` is called.
    void send(int peer, Tag tag, std::span<const std::byte> bytes, std::function<void()> done);

    /// Returns how many messages are on their way to the peer. Updated by `progress`.
    [[nodiscard]] std::size_t sending(int peer) const;

    struct Incoming {
        int peer;
        Tag tag;
        std::size_t size;
    };
    /// Where a message is received; empty: it is dropped.
    using Place = std::function<std::span<std::byte>(const Incoming&)>;
    using Arrived = std::function<void(const Incoming&, std::span<std::byte>)>;

    /// Progresses sends and receives. For each message that has begun to arrive calls `place`. For
    /// each that has arrived, in the order in which its peer has sent them, calls `arrived`.
    /// Entries are received into memory of the channel, without asking for a place. Returns whether
    /// there was anything to do.
    bool progress(const Place& place, const Arrived& arrived);

    /// Forgets the peer: what it sends is dropped, and nothing is sent to it any more.
    void forget(int peer);

    /// Leaves MPI, in the order that all ranks do. May block for ever if a rank is lost.
    void finish();

    /// Ends the job, without waiting for lost ranks.
    [[noreturn]] static void abort(int status);

private:
    struct Impl;

    void begin_send(int peer, Tag tag, std::span<const std::byte> bytes,
                    std::vector<std::byte> kept, std::function<void()> done);

    int rank_ = 0;
    int size_ = 0;
    std::unique_ptr<Impl> impl_;
};

} // namespace prong::mpi
