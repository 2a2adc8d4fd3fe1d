#include "mpi/mailbox.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <utility>
#include <vector>

namespace prong::mpi {
namespace {

[[noreturn]] void throw_unexpected() {
    throw CodecError("an MPI message is a piece of no payload");
}

std::span<std::byte> part(std::span<std::byte> place, std::size_t begin, std::size_t size) {
    return place.empty() ? place : place.subspan(begin, size);
}

} // namespace

void Outbox::add(EntryHead head, std::span<const std::byte> bytes, const SentOptions* options,
                 std::function<void()> done) {
    head.size = bytes.size();
    head.has_options = options != nullptr;
    head.is_large = bytes.size() > largest_inline;
    batch_.add(head, head.is_large ? std::span<const std::byte>() : bytes, options);
    if (head.is_large)
        large_.push_back({.rest = bytes, .done = std::move(done)});
    else if (done)
        done();
}

bool Outbox::flush(std::int64_t now_ns, bool is_last) {
    bool any = false;
    if (!batch_.empty()) {
        if (begun_ns_ == 0) begun_ns_ = now_ns;
        const bool is_full = batch_.entries() >= most_entries || batch_.size() >= most_batch_bytes;
        const bool is_due = is_last || is_full || now_ns - begun_ns_ >= batch_age_ns;
        if (is_due && !is_congested()) {
            channel_->send(peer_, Tag::entries, batch_.take());
            begun_ns_ = 0;
            announced_ = large_.size();
            any = true;
        }
    }
    return send_pieces() || any;
}

bool Outbox::send_pieces() {
    bool any = false;
    while (announced_ != 0 && pieces_ < most_pieces) {
        Large& large = large_.front();
        const auto piece = large.rest.first(std::min(large.rest.size(), piece_size));
        large.rest = large.rest.subspan(piece.size());
        std::function<void()> done;
        if (large.rest.empty()) {
            done = std::move(large.done);
            large_.pop_front();
            --announced_;
        }
        ++pieces_;
        channel_->send(peer_, Tag::piece, piece, [this, done = std::move(done)] {
            --pieces_;
            if (done) done();
        });
        any = true;
    }
    return any;
}

void Inbox::expect(const Entry& entry, std::span<std::byte> place) {
    large_.push_back({.head = entry.head, .options = entry.options, .place = place});
}

std::span<std::byte> Inbox::place(std::size_t size) {
    const auto is_open = [](const Large& large) { return large.placed != large.head.size; };
    const auto large = std::ranges::find_if(large_, is_open);
    if (large == large_.end() || size > large->head.size - large->placed) throw_unexpected();
    return part(large->place, std::exchange(large->placed, large->placed + size), size);
}

std::span<std::byte> Inbox::next(std::size_t size) const {
    if (large_.empty() || size > large_.front().head.size - large_.front().arrived)
        throw_unexpected();
    return part(large_.front().place, large_.front().arrived, size);
}

std::optional<Inbox::Large> Inbox::arrived(std::size_t size) {
    static_cast<void>(next(size)); // checks
    Large& large = large_.front();
    large.arrived += size;
    if (large.arrived != large.head.size) return std::nullopt;
    const Large complete = large;
    large_.pop_front();
    return complete;
}

void Inbox::forget_places() {
    for (Large& large : large_) large.place = {};
}

bool Inbox::expects(std::uint64_t number) const {
    return std::ranges::any_of(large_,
                               [&](const Large& large) { return large.head.number == number; });
}

} // namespace prong::mpi
