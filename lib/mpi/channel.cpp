#include "mpi/channel.hpp"

#include "mpi/library.hpp"
#include "mpi/wire.hpp"

#define OMPI_SKIP_MPICXX
#define MPICH_SKIP_MPICXX
#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <deque>
#include <list>
#include <utility>

namespace prong::mpi {

#ifdef OPEN_MPI
const LauncherKind library_kind = LauncherKind::open_mpi;
#else // MPICH, and those that derive from it
const LauncherKind library_kind = LauncherKind::hydra;
#endif

namespace {

void check(int result, const char* call, int peer = MpiError::no_peer) {
    if (result == MPI_SUCCESS) return;
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    MPI_Error_string(result, text.data(), &length);
    throw MpiError(std::string(call) +
                       " failed: " + std::string(text.data(), static_cast<std::size_t>(length)),
                   peer);
}

/// Memory for a message, not initialised.
struct Buffer {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t capacity = 0;

    void require(std::size_t size) {
        if (size <= capacity) return;
        capacity = std::max(size, piece_size);
        bytes = std::make_unique_for_overwrite<std::byte[]>(capacity);
    }
};

struct Sending {
    MPI_Request request;
    std::vector<std::byte> kept; ///< the bytes, unless they stay elsewhere
    std::function<void()> done;  ///< may be empty
};

struct Receiving {
    MPI_Message message;
    Channel::Incoming incoming;
    bool has_begun = false;
    MPI_Request request = MPI_REQUEST_NULL;
    std::span<std::byte> bytes = {}; ///< where the message is received
    Buffer kept = {};                ///< that memory, unless it is elsewhere
};

struct Peer {
    int rank = 0;
    std::deque<Sending> sending = {};
    std::deque<Receiving> receiving = {};
    bool is_forgotten = false;
};

bool is_done(MPI_Request& request, int peer) {
    int done = 0;
    check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test", peer);
    return done != 0;
}

} // namespace

struct Channel::Impl {
    std::vector<Peer> peers;
    std::size_t sends = 0;
    std::size_t receives = 0;
    bool is_finished = false;
    /// What MPI may still read or write when a peer is forgotten.
    std::list<Peer> forgotten = {};
    std::vector<Buffer> spare = {};

    bool progress_sends(Peer& peer);
    bool find_messages();
    void begin_receive(Receiving& receiving, const Place& place);
    void begin_receives(Peer& peer, const Place& place);
    bool progress_receives(Peer& peer, const Place& place, const Arrived& arrived);
};

Channel::Channel() {
    check(MPI_Init(nullptr, nullptr), "MPI_Init");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");
    impl_ = std::make_unique<Impl>(Impl{.peers = std::vector<Peer>(static_cast<unsigned>(size_))});
    int rank = 0;
    for (Peer& peer : impl_->peers) peer.rank = rank++;
}

/// Buffers that MPI may still use are never freed: without `finish` it would use them later.
Channel::~Channel() {
    if (!impl_->is_finished) static_cast<void>(impl_.release());
}

void Channel::begin_send(int peer, Tag tag, std::span<const std::byte> bytes,
                         std::vector<std::byte> kept, std::function<void()> done) {
    Peer& to = impl_->peers.at(static_cast<unsigned>(peer));
    if (to.is_forgotten) return;
    Sending& sending = to.sending.emplace_back(
        Sending{.request = MPI_REQUEST_NULL, .kept = std::move(kept), .done = std::move(done)});
    ++impl_->sends;
    check(MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, peer,
                    static_cast<int>(tag), MPI_COMM_WORLD, &sending.request),
          "MPI_Isend", peer);
}

void Channel::send(int peer, Tag tag, std::vector<std::byte> bytes) {
    const std::span<const std::byte> where = bytes; // moving the vector leaves them there
    begin_send(peer, tag, where, std::move(bytes), nullptr);
}

void Channel::send(int peer, Tag tag, std::span<const std::byte> bytes,
                   std::function<void()> done) {
    begin_send(peer, tag, bytes, {}, std::move(done));
}

int Channel::servers_here() const {
    MPI_Comm here{};
    check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &here),
          "MPI_Comm_split_type");
    int size = 0;
    int first = 0;
    check(MPI_Comm_size(here, &size), "MPI_Comm_size");
    check(MPI_Allreduce(&rank_, &first, 1, MPI_INT, MPI_MIN, here), "MPI_Allreduce");
    check(MPI_Comm_free(&here), "MPI_Comm_free");
    return first == 0 ? size - 1 : size;
}

std::size_t Channel::sending(int peer) const {
    return impl_->peers.at(static_cast<unsigned>(peer)).sending.size();
}

bool Channel::Impl::progress_sends(Peer& peer) {
    bool any = false;
    while (!peer.sending.empty() && is_done(peer.sending.front().request, peer.rank)) {
        const Sending sent = std::move(peer.sending.front());
        peer.sending.pop_front();
        --sends;
        if (sent.done) sent.done();
        any = true;
    }
    return any;
}

/// Notes the messages that have begun to arrive. Returns whether there were any.
bool Channel::Impl::find_messages() {
    constexpr int most = 64; // then what they say comes first
    for (int count = 0; count < most; ++count) {
        int found = 0;
        MPI_Message message{};
        MPI_Status status{};
        check(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &found, &message, &status),
              "MPI_Improbe");
        if (found == 0) return count != 0;
        int size = 0;
        check(MPI_Get_count(&status, MPI_BYTE, &size), "MPI_Get_count");
        peers.at(static_cast<unsigned>(status.MPI_SOURCE))
            .receiving.push_back({.message = message,
                                  .incoming = {.peer = status.MPI_SOURCE,
                                               .tag = static_cast<Tag>(status.MPI_TAG),
                                               .size = static_cast<std::size_t>(size)}});
        ++receives;
    }
    return true;
}

void Channel::Impl::begin_receive(Receiving& receiving, const Place& place) {
    const Incoming& incoming = receiving.incoming;
    if (incoming.tag == Tag::piece) receiving.bytes = place(incoming);
    if (receiving.bytes.size() < incoming.size) {
        if (!spare.empty()) {
            receiving.kept = std::move(spare.back());
            spare.pop_back();
        }
        receiving.kept.require(incoming.size);
        receiving.bytes = {receiving.kept.bytes.get(), incoming.size};
    }
    receiving.has_begun = true;
    check(MPI_Imrecv(receiving.bytes.data(), static_cast<int>(incoming.size), MPI_BYTE,
                     &receiving.message, &receiving.request),
          "MPI_Imrecv", incoming.peer);
}

/// Begins to receive messages up to the first with entries: where later ones belong is known only
/// when that has arrived.
void Channel::Impl::begin_receives(Peer& peer, const Place& place) {
    for (Receiving& receiving : peer.receiving) {
        if (!receiving.has_begun) begin_receive(receiving, place);
        if (receiving.incoming.tag == Tag::entries) return;
    }
}

bool Channel::Impl::progress_receives(Peer& peer, const Place& place, const Arrived& arrived) {
    bool any = false;
    while (!peer.receiving.empty()) {
        begin_receives(peer, place);
        if (!is_done(peer.receiving.front().request, peer.rank)) break;
        Receiving received = std::move(peer.receiving.front());
        peer.receiving.pop_front();
        --receives;
        any = true;
        arrived(received.incoming, received.bytes);
        constexpr std::size_t most_spare = 16;
        if (received.kept.bytes && spare.size() < most_spare)
            spare.push_back(std::move(received.kept));
    }
    return any;
}

bool Channel::progress(const Place& place, const Arrived& arrived) {
    const auto nowhere = [](const auto&...) { return std::span<std::byte>(); };
    bool any = impl_->find_messages();
    if (impl_->receives != 0) {
        for (Peer& peer : impl_->peers) {
            any = (peer.is_forgotten ? impl_->progress_receives(peer, nowhere, nowhere)
                                     : impl_->progress_receives(peer, place, arrived)) ||
                  any;
        }
    }
    if (impl_->sends != 0) {
        for (Peer& peer : impl_->peers) any = impl_->progress_sends(peer) || any;
    }
    return any;
}

void Channel::forget(int peer) {
    Peer& lost = impl_->peers.at(static_cast<unsigned>(peer));
    impl_->sends -= lost.sending.size();
    impl_->receives -= lost.receiving.size();
    impl_->forgotten.push_back(std::exchange(lost, Peer{.rank = peer}));
    lost.is_forgotten = true;
}

void Channel::finish() {
    check(MPI_Finalize(), "MPI_Finalize");
    impl_->is_finished = true;
}

void Channel::abort(int status) {
    MPI_Abort(MPI_COMM_WORLD, status);
    std::quick_exit(status);
}

} // namespace prong::mpi
