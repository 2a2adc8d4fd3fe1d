#include <prong/queue.hpp>

#include "os/fork_safe_mutex.hpp"
#include "sync/cell.hpp"
#include "sync/change_count.hpp"
#include "sync/member.hpp"
#include "sync/object.hpp"
#include "sync/spin.hpp"

#include <prong/detail/pledges.hpp>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

// A queue is a ring of places, each for the positions i, i + capacity, i + 2 capacity, … A producer
// writes its item into a block first; one compare-and-swap puts the block into a place, so there is
// never half an item, and no other waits for a producer. A consumer takes an item by one
// compare-and-swap that says who has it; what a dead consumer has is taken from it in the same way.
// It finishes the item by another one. Where the ends of the queue are is only a hint.
//
// A block has a holder, a process that alone may free it: its producer, then the consumer that has
// taken the item. When a holder has died, one compare-and-swap makes another process the holder,
// unless the item still waits in its place.
//
// The lap of a position says how often the ring has gone round before it. A place:
//   content: the lap (upper 24 bits) and the block, in units of 256 bytes; 0: free for that lap
//   taker:   the lap (upper 32 bits), a bit if `get` has returned the item, and the member that
//            has it, or 0. If the lap is ahead of the content's, the item is finished: its holder
//            frees the place next, or if that has died, any process that sees it.

namespace prong::detail {
namespace {

using sync::MemberId;
using sync::throw_corrupt;

constexpr std::uint64_t most_items = 1 << 20;
constexpr std::int64_t largest_max_size = most_items / 2;
constexpr std::uint64_t least_places = 4096;
constexpr std::uint64_t block_unit = 256;
constexpr unsigned block_bits = 40;
constexpr std::uint64_t block_mask = (std::uint64_t{1} << block_bits) - 1;

/// Takes the place of a block: the queue is closed here.
constexpr std::uint64_t closed_mark = block_mask;

/// In a taker, beside the member: the item is the member's until `task_done`.
constexpr MemberId kept = 1U << 30;
static_assert((kept & sync::member_mask) == 0);

/// How many positions consumers pass before one looks for what dead processes have left.
constexpr std::uint64_t positions_between_searches = 1024;

/// Locked by a thread that looks for an item that it is done with.
constinit os::ForkSafeMutex finishing;

struct Place {
    std::atomic<std::uint64_t> content;
    std::atomic<std::uint64_t> taker;
};

/// Precedes the places.
struct Ends {
    std::int64_t max_size;
    alignas(64) std::atomic<std::uint64_t> tail; ///< the first free position, or one before it
    alignas(64) std::atomic<std::uint64_t> next; ///< the first that is not taken, or one before it
    alignas(64) std::atomic<std::uint64_t> head; ///< the first not finished, or one before it
    std::atomic<std::uint32_t> deaths;           ///< in the family, when blocks were last reclaimed
};

/// Precedes an item's bytes.
struct BlockHeader {
    std::atomic<MemberId> holder; ///< alone may free the block
    std::atomic<std::uint32_t> deliveries;
    std::atomic<std::uint64_t> position; ///< where the item is, was, or is put next
    std::uint64_t bytes;
    std::uint64_t unused; ///< aligns the bytes as a Reader expects
};
static_assert(sizeof(BlockHeader) % wire_alignment == 0);

std::byte* bytes_of(BlockHeader& header) {
    return reinterpret_cast<std::byte*>(&header + 1);
}

/// Returns the number of places of a queue that another handle made.
std::uint64_t capacity_of(const sync::Cell& cell) {
    const std::uint64_t bytes = cell.data_bytes.load();
    const std::uint64_t places = (bytes - sizeof(Ends)) / sizeof(Place);
    if (bytes < sizeof(Ends) || places > most_items || !std::has_single_bit(places))
        throw_corrupt();
    return places;
}

/// Goes through the positions from a hint on.
class Walk {
public:
    Walk(const std::atomic<std::uint64_t>& hint, std::uint64_t capacity)
        : hint_(hint), most_ahead_(2 * capacity), position_(hint.load()) {}

    [[nodiscard]] std::uint64_t position() const { return position_; }
    /// Goes to the next position, or to the hint, which may have moved far on while this thread did
    /// not run. Throws `Error` more than two laps ahead of the hint.
    void advance() {
        const std::uint64_t hint = hint_.load();
        position_ = std::max(position_ + 1, hint);
        if (position_ - hint > most_ahead_) throw_corrupt();
    }

private:
    const std::atomic<std::uint64_t>& hint_;
    std::uint64_t most_ahead_;
    std::uint64_t position_;
};

/// How a consumer searches for an item.
enum class Search : std::uint8_t {
    again,    ///< for one that was put
    quick,    ///< the same; occasionally for those that dead consumers have taken
    thorough, ///< for both
};

/// The queue's memory during one operation.
class Ring {
public:
    /// `memory`: behind the object's cell.
    Ring(const ObjectHandle& object, std::byte* memory, std::uint64_t capacity)
        : object_(object), words_(object.get().queue), items_(sync::owner_of_items(object.stamp())),
          capacity_(capacity), shift_(static_cast<unsigned>(std::countr_zero(capacity))),
          ends_(reinterpret_cast<Ends*>(memory)),
          places_(reinterpret_cast<Place*>(memory + sizeof(Ends))) {}

    std::uint64_t make_block(std::uint64_t bytes, std::uint64_t& room) const;
    [[nodiscard]] static BlockHeader* find_header(std::uint64_t block) noexcept;
    [[nodiscard]] static BlockHeader& header_of(std::uint64_t block);
    static void release(std::uint64_t block) noexcept;
    bool has_room();
    bool has_item();
    bool put(std::uint64_t block, const Deadline& deadline);
    std::optional<ItemQueue::Item> take(const Deadline& deadline);
    void keep(std::uint64_t position) noexcept;
    bool finish(std::uint64_t position, MemberId self) noexcept;
    bool finish_first() noexcept;
    bool join(const Deadline& deadline);
    void close();
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] Ends& ends() const { return *ends_; }

private:
    enum class Outcome { done, full, closed };
    enum class Phase { free, offered, taken, finished, past, future, closed };

    [[nodiscard]] Place& place(std::uint64_t position) const {
        return places_[position & (capacity_ - 1)];
    }
    [[nodiscard]] std::uint64_t content_for(std::uint64_t position, std::uint64_t block) const {
        return (position >> shift_) << block_bits | block;
    }
    [[nodiscard]] std::uint64_t taker_for(std::uint64_t position, MemberId member) const {
        return (position >> shift_) << 32 | member;
    }
    [[nodiscard]] std::uint64_t following(std::uint64_t position) const {
        return position + capacity_;
    }

    [[nodiscard]] Phase phase_of(std::uint64_t position) const;
    Outcome find_free(bool is_item, std::uint64_t& position);
    Outcome publish(std::uint64_t block);
    [[nodiscard]] bool is_within_max_size(std::uint64_t position) const;
    /// Returns whether no item has been put there yet.
    [[nodiscard]] static bool is_unused(Phase phase) {
        return phase == Phase::free || phase == Phase::future || phase == Phase::closed;
    }
    std::optional<std::uint64_t> claim(Search search);
    std::optional<std::uint64_t> claim_from_dead(std::uint64_t end);
    [[nodiscard]] bool has_item_of_dead(std::uint64_t end);
    bool try_claim(std::uint64_t position, MemberId from);
    [[nodiscard]] ItemQueue::Item open(std::uint64_t position) const;
    void hold(std::uint64_t position, BlockHeader& header) const noexcept;
    void free_place(std::uint64_t position) noexcept;
    void free_for_dead(std::uint64_t position) noexcept;
    void move_head() noexcept;
    [[nodiscard]] bool is_in_place(std::uint64_t block, const BlockHeader& header) const noexcept;
    bool reclaim_abandoned() const;
    void reclaim_after_deaths() const;
    static void move(std::atomic<std::uint64_t>& hint, std::uint64_t position) noexcept;
    [[nodiscard]] bool is_all_finished();

    const ObjectHandle& object_;
    sync::QueueWords& words_;
    shm::Owner items_;
    std::uint64_t capacity_;
    unsigned shift_;
    Ends* ends_;
    Place* places_;
};

/// Moves a hint forward.
void Ring::move(std::atomic<std::uint64_t>& hint, std::uint64_t position) noexcept {
    std::uint64_t seen = hint.load(std::memory_order_relaxed);
    while (seen < position && !hint.compare_exchange_weak(seen, position)) {
    }
}

Ring::Phase Ring::phase_of(std::uint64_t position) const {
    const std::uint64_t content = place(position).content.load();
    // Laps in a content are cut off, and so compared as a difference.
    const auto ahead = static_cast<std::int64_t>(content - content_for(position, 0)) >> block_bits;
    if (ahead > 0) return Phase::past;
    if (ahead < 0) return Phase::future;
    const std::uint64_t block = content & block_mask;
    if (block == 0) return Phase::free;
    if (block == closed_mark) return Phase::closed;
    const std::uint64_t taker = place(position).taker.load();
    if (taker >> 32 != taker_for(position, 0) >> 32) return Phase::finished;
    return static_cast<MemberId>(taker) == 0 ? Phase::offered : Phase::taken;
}

BlockHeader* Ring::find_header(std::uint64_t block) noexcept {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    if (!memory.contains(block * block_unit, sizeof(BlockHeader))) return nullptr;
    return reinterpret_cast<BlockHeader*>(memory.at(block * block_unit));
}

BlockHeader& Ring::header_of(std::uint64_t block) {
    BlockHeader* const header = find_header(block);
    if (header == nullptr) throw_corrupt();
    return *header;
}

/// Allocates a block for an item of `bytes` bytes, which this process holds. `room` gets the number
/// of bytes that fit.
std::uint64_t Ring::make_block(std::uint64_t bytes, std::uint64_t& room) const {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    const MemberId self = sync::this_member();
    // Blocks of the smallest size are for cells alone.
    const std::uint64_t size = std::max(sizeof(BlockHeader) + bytes, 2 * block_unit);
    shm::Block block{};
    try {
        block = memory.allocate(size, self);
    } catch (const Error&) {
        reclaim_abandoned();
        block = memory.allocate(size, self);
    }
    BlockHeader& header = header_of(block.offset / block_unit);
    header.position.store(0, std::memory_order_relaxed);
    header.deliveries.store(0, std::memory_order_relaxed);
    header.bytes = 0;
    header.holder.store(self, std::memory_order_relaxed);
    // From here on others look at the header: a compare-and-swap, after all of these stores.
    memory.give(block.offset, self, items_);
    room = block.capacity - sizeof(BlockHeader);
    return block.offset / block_unit;
}

/// Frees a block that this process holds.
void Ring::release(std::uint64_t block) noexcept {
    const BlockHeader* const header = find_header(block);
    if (header == nullptr) return;
    shm::FamilyMemory::find()->free(block * block_unit, sizeof(BlockHeader) + header->bytes);
}

/// Makes this process the holder if the present one has died and `is_left` afterwards.
template <typename IsLeft>
bool take_over(BlockHeader& header, IsLeft is_left) noexcept {
    MemberId holder = header.holder.load();
    return sync::has_ended(holder) && is_left() &&
           header.holder.compare_exchange_strong(holder, sync::this_member());
}

bool Ring::is_in_place(std::uint64_t block, const BlockHeader& header) const noexcept {
    const std::uint64_t position = header.position.load();
    return place(position).content.load() == content_for(position, block);
}

/// Frees the blocks of dead holders that are in no place: not yet, or no more. Returns whether
/// these are all.
bool Ring::reclaim_abandoned() const {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    bool are_all = true;
    memory.for_each_owned(items_, [&](shm::Block block) {
        const std::uint64_t number = block.offset / block_unit;
        auto& header = *reinterpret_cast<BlockHeader*>(memory.at(block.offset));
        const auto is_left = [&] {
            return memory.belongs_to(block.offset, items_) && !is_in_place(number, header);
        };
        if (sync::lives(header.holder.load()) || !is_left()) return;
        if (take_over(header, is_left))
            memory.discard(block.offset);
        else
            are_all = false;
    });
    return are_all;
}

/// The same, if processes have died since the last time.
void Ring::reclaim_after_deaths() const {
    const std::uint32_t deaths = sync::count_deaths();
    if (ends_->deaths.load() != deaths && reclaim_abandoned()) ends_->deaths.store(deaths);
}

/// Returns whether an item at this position would not be one too many.
bool Ring::is_within_max_size(std::uint64_t position) const {
    if (ends_->max_size == 0) return true;
    const auto most = static_cast<std::uint64_t>(ends_->max_size);
    if (position < most) return true;
    const Phase phase = phase_of(position - most);
    return phase != Phase::offered && phase != Phase::free;
}

/// Finds the first free place, and returns whether an item, or else the mark of the end, can be put
/// there.
Ring::Outcome Ring::find_free(bool is_item, std::uint64_t& position) {
    for (Walk walk(ends_->tail, capacity_);;) {
        position = walk.position();
        switch (phase_of(position)) {
        case Phase::free:
            return is_item && !is_within_max_size(position) ? Outcome::full : Outcome::done;
        case Phase::closed:
            return Outcome::closed;
        case Phase::future: { // the place still has the item of the previous lap
            const std::uint64_t former = position - capacity_;
            if (phase_of(former) == Phase::finished) free_for_dead(former);
            if (phase_of(position) == Phase::future) return Outcome::full;
            break;
        }
        default:
            move(ends_->tail, position + 1);
            walk.advance();
        }
    }
}

/// Puts a block, or the mark of the end, into the first free place.
Ring::Outcome Ring::publish(std::uint64_t block) {
    const bool is_item = block != closed_mark;
    BlockHeader* const header = is_item ? &header_of(block) : nullptr;
    for (;;) {
        std::uint64_t position = 0;
        const Outcome found = find_free(is_item, position);
        if (found != Outcome::done) return found;
        // Before the compare-and-swap that puts it there.
        if (is_item) header->position.store(position, std::memory_order_relaxed);
        std::uint64_t free = content_for(position, 0);
        if (!place(position).content.compare_exchange_strong(free, content_for(position, block)))
            continue;
        if (is_item) move(ends_->tail, position + 1);
        return Outcome::done;
    }
}

bool Ring::has_room() {
    std::uint64_t position = 0;
    return find_free(true, position) != Outcome::full;
}

/// Returns whether a thorough search would take an item, or find that none will ever come.
bool Ring::has_item() {
    for (Walk walk(ends_->next, capacity_);; walk.advance()) {
        const Phase phase = phase_of(walk.position());
        if (phase == Phase::offered || phase == Phase::closed) return true;
        if (is_unused(phase)) return has_item_of_dead(walk.position());
    }
}

/// Returns whether a dead process has taken an item before `end`.
bool Ring::has_item_of_dead(std::uint64_t end) {
    for (Walk walk(ends_->head, capacity_); walk.position() < end; walk.advance()) {
        if (phase_of(walk.position()) != Phase::taken) continue;
        const auto taker = static_cast<MemberId>(place(walk.position()).taker.load());
        if (taker != 0 && !sync::lives(taker)) return true;
    }
    return false;
}

/// Appends the item in the block. Returns false at the deadline; the block is the caller's then,
/// and after an exception.
bool Ring::put(std::uint64_t block, const Deadline& deadline) {
    Outcome result = Outcome::full;
    sync::wait_for_change(object_, words_.room, deadline, [&] {
        result = publish(block);
        return result != Outcome::full;
    });
    if (result == Outcome::closed) throw QueueClosed("the queue is closed: nothing can be put");
    if (result == Outcome::done) sync::announce(words_.items, 1);
    return result == Outcome::done;
}

void Ring::close() {
    if (publish(closed_mark) == Outcome::full) {
        // Not even this has room: only as long as all places are in use.
        sync::wait_for_change(object_, words_.room, Deadline::never(),
                              [&] { return publish(closed_mark) != Outcome::full; });
    }
    sync::announce(words_.items, os::everyone);
    sync::announce(words_.room, os::everyone);
}

bool Ring::try_claim(std::uint64_t position, MemberId from) {
    std::uint64_t taker = taker_for(position, from);
    return place(position).taker.compare_exchange_strong(taker,
                                                         taker_for(position, sync::this_member()));
}

/// Takes an item that a dead process has taken.
std::optional<std::uint64_t> Ring::claim_from_dead(std::uint64_t end) {
    for (Walk walk(ends_->head, capacity_); walk.position() < end; walk.advance()) {
        const std::uint64_t position = walk.position();
        const Phase phase = phase_of(position);
        if (phase == Phase::finished) free_for_dead(position);
        if (phase != Phase::taken) continue;
        const auto taker = static_cast<MemberId>(place(position).taker.load());
        if (taker == 0 || sync::lives(taker) || !try_claim(position, taker)) continue;
        move(ends_->next, position + 1); // the dead may not have
        return position;
    }
    return std::nullopt;
}

/// Takes the first item; a thorough search also finds those that dead processes have taken. Throws
/// `EndOfFile` if the queue is closed and empty.
std::optional<std::uint64_t> Ring::claim(Search search) {
    Walk walk(ends_->next, capacity_);
    if (search != Search::again && walk.position() % positions_between_searches == 0) {
        if (const auto dead = claim_from_dead(walk.position())) return dead;
        reclaim_after_deaths();
    }
    for (;; walk.advance()) {
        const std::uint64_t position = walk.position();
        const Phase phase = phase_of(position);
        if (is_unused(phase)) {
            if (search != Search::thorough && phase != Phase::closed) return std::nullopt;
            if (const auto dead = claim_from_dead(position)) return dead;
            if (phase == Phase::closed)
                throw EndOfFile("the queue is closed, and all of its items were received");
            return std::nullopt;
        }
        if (phase == Phase::offered && try_claim(position, 0)) {
            move(ends_->next, position + 1);
            return position;
        }
    }
}

/// Makes this process the holder of an item that it has taken.
void Ring::hold(std::uint64_t position, BlockHeader& header) const noexcept {
    const MemberId self = sync::this_member();
    MemberId holder = header.holder.load();
    // A thread may come late: its process was found dead, and another has taken the item.
    while (place(position).taker.load() == taker_for(position, self) &&
           !header.holder.compare_exchange_weak(holder, self)) {
    }
}

ItemQueue::Item Ring::open(std::uint64_t position) const {
    const std::uint64_t block = place(position).content.load() & block_mask;
    BlockHeader& header = header_of(block);
    const std::uint64_t bytes = header.bytes;
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    if (bytes > memory.largest() ||
        !memory.contains(block * block_unit, sizeof(BlockHeader) + bytes))
        throw_corrupt();
    hold(position, header);
    return {.position = position,
            .bytes = {bytes_of(header), bytes},
            .deliveries = static_cast<int>(header.deliveries.fetch_add(1) + 1)};
}

std::optional<ItemQueue::Item> Ring::take(const Deadline& deadline) {
    std::optional<std::uint64_t> position;
    const auto finds = [&](Search search) { return (position = claim(search)).has_value(); };
    const bool has_found = finds(Search::quick) ||
                           sync::spin_until(deadline, [&] { return finds(Search::again); }) ||
                           sync::wait_for_change(object_, words_.items, deadline,
                                                 [&] { return finds(Search::thorough); });
    if (!has_found) return std::nullopt;
    if (ends_->max_size != 0) sync::announce(words_.room, 1);
    return open(*position);
}

/// Frees the place and the block of a finished item that this process holds.
void Ring::free_place(std::uint64_t position) noexcept {
    std::uint64_t content = place(position).content.load();
    const std::uint64_t block = content & block_mask;
    if (content == content_for(position, block) &&
        place(position).content.compare_exchange_strong(content,
                                                        content_for(following(position), 0)))
        release(block);
}

/// Frees the place of a finished item if its holder has died.
void Ring::free_for_dead(std::uint64_t position) noexcept {
    const std::uint64_t content = place(position).content.load();
    const std::uint64_t block = content & block_mask;
    BlockHeader* const header = find_header(block);
    if (header == nullptr || content != content_for(position, block)) return;
    if (take_over(*header, [&] { return place(position).content.load() == content; }))
        free_place(position);
}

void Ring::move_head() noexcept {
    std::uint64_t head = ends_->head.load();
    const std::uint64_t end = head + capacity_;
    while (head < end && phase_of(head) == Phase::past &&
           ends_->head.compare_exchange_strong(head, head + 1))
        ++head;
}

void Ring::keep(std::uint64_t position) noexcept {
    const MemberId self = sync::this_member();
    std::uint64_t taker = taker_for(position, self);
    place(position).taker.compare_exchange_strong(taker, taker_for(position, self | kept));
}

/// `self`: this process, as the taker of the item.
bool Ring::finish(std::uint64_t position, MemberId self) noexcept {
    std::uint64_t taker = taker_for(position, self);
    if (!place(position).taker.compare_exchange_strong(taker, taker_for(following(position), 0)))
        return false;
    free_place(position);
    move_head();
    sync::announce(words_.room, 1);
    sync::announce(words_.finished, os::everyone);
    return true;
}

/// A thread that has kept an item finds one: meanwhile no other thread of this process takes it.
bool Ring::finish_first() noexcept {
    const std::lock_guard lock(finishing);
    const std::uint64_t start = ends_->head.load();
    const std::uint64_t end = std::min(ends_->next.load(), start + 2 * capacity_);
    const MemberId self = sync::this_member() | kept;
    for (std::uint64_t position = start; position < end; ++position) {
        if (place(position).taker.load() == taker_for(position, self) && finish(position, self))
            return true;
    }
    return false;
}

bool Ring::is_all_finished() {
    for (Walk walk(ends_->head, capacity_);; walk.advance()) {
        switch (phase_of(walk.position())) {
        case Phase::finished:
            free_for_dead(walk.position());
            break;
        case Phase::past:
            break;
        case Phase::offered:
        case Phase::taken:
            return false;
        default:
            return true;
        }
    }
}

bool Ring::join(const Deadline& deadline) {
    return sync::wait_for_change(object_, words_.finished, deadline,
                                 [&] { return is_all_finished(); });
}

std::size_t Ring::size() const {
    // Two equal walks in succession (a double collect): in between, no place has changed, because
    // none becomes again what it was. On a queue that is never at rest, the last walk's estimate.
    constexpr int most_walks = 64;
    std::size_t count = 0;
    std::optional<std::uint64_t> seen;
    for (int i = 0; i < most_walks; ++i) {
        count = 0;
        std::uint64_t digest = 0;
        const auto add = [&](std::uint64_t word) { // FNV-1a, by words
            digest = (digest ^ word) * 0x100000001b3;
        };
        for (Walk walk(ends_->head, capacity_);; walk.advance()) {
            const std::uint64_t position = walk.position();
            const std::uint64_t taker = place(position).taker.load();
            const Phase phase = phase_of(position);
            add(position);
            add(taker);
            if (is_unused(phase)) break;
            add(static_cast<std::uint64_t>(phase));
            const bool is_left =
                phase == Phase::taken && !sync::lives(static_cast<MemberId>(taker));
            if (phase == Phase::offered || is_left) ++count;
        }
        if (std::exchange(seen, digest) == digest) break;
    }
    return count;
}

} // namespace

std::uint64_t ItemQueue::further_bytes(std::int64_t max_size) {
    if (max_size < 0 || max_size > largest_max_size)
        throw std::invalid_argument("prong::Queue: a max_size of 0 (none) to " +
                                    std::to_string(largest_max_size) + ", not " +
                                    std::to_string(max_size));
    std::uint64_t places =
        std::max(std::bit_ceil(2 * static_cast<std::uint64_t>(max_size)), least_places);
    if (max_size == 0) {
        // The ring of an unbounded queue is small where shared memory is.
        places = most_items;
        const std::uint64_t most = shm::FamilyMemory::get().largest() / 8;
        while (places > least_places && places * sizeof(Place) > most) places /= 2;
    }
    return sizeof(Ends) + places * sizeof(Place);
}

void ItemQueue::find_memory() {
    capacity_ = capacity_of(object_.get());
    memory_ = sync::further_memory(object_.get(), sizeof(Ends) + capacity_ * sizeof(Place));
}

void ItemQueue::initialise(std::int64_t max_size) {
    find_memory();
    Ring(object_, memory_, capacity_).ends().max_size = max_size;
}

ItemQueue::ItemQueue(ObjectId id) : object_(ObjectKind::queue, id) {
    find_memory();
}

/// Frees the writer's block.
void ItemWriter::release() noexcept {
    if (block_ == 0) return;
    if (BlockHeader* const header = Ring::find_header(block_)) header->bytes = size();
    Ring::release(block_);
}

ItemWriter::ItemWriter(const ItemQueue& queue) : Writer(default_max_nesting), queue_(queue) {}

Pledges& ItemWriter::pledges() {
    if (!pledges_)
        pledges_ = std::make_unique<Pledges>(ParcelRoute::mail, 0, queue_.object_.stamp());
    return *pledges_;
}

ItemWriter::~ItemWriter() {
    release();
}

void ItemWriter::grow(std::size_t more) {
    const std::size_t used = size();
    std::uint64_t room = 0;
    const std::uint64_t larger = Ring(queue_.object_, queue_.memory_, queue_.capacity_)
                                     .make_block(std::max(used + more, 2 * used), room);
    BlockHeader& header = Ring::header_of(larger);
    if (block_ != 0) std::memcpy(bytes_of(header), data(), used);
    release();
    block_ = larger;
    set_window(bytes_of(header), used, room);
}

bool ItemQueue::has_room() const {
    return Ring(object_, memory_, capacity_).has_room();
}

bool ItemQueue::has_item() const {
    return Ring(object_, memory_, capacity_).has_item();
}

std::atomic<std::uint32_t>* ItemQueue::find_changes(QueueChange change) const noexcept {
    SharedCell* const cell = object_.find();
    if (cell == nullptr) return nullptr;
    return change == QueueChange::item ? &cell->queue.items : &cell->queue.room;
}

bool ItemQueue::put(ItemWriter& item, Deadline deadline) const {
    Ring::header_of(item.block_).bytes = item.size();
    if (!Ring(object_, memory_, capacity_).put(item.block_, deadline)) return false;
    item.block_ = 0;
    if (item.pledges_) item.pledges_->post();
    return true;
}

std::optional<ItemQueue::Item> ItemQueue::take(Deadline deadline) const {
    return Ring(object_, memory_, capacity_).take(deadline);
}

void ItemQueue::keep(const Item& item) const noexcept {
    try {
        Ring(object_, memory_, capacity_).keep(item.position);
    } catch (const Error&) { // the queue has ended
    }
}

void ItemQueue::finish(const Item& item) const noexcept {
    try {
        Ring(object_, memory_, capacity_).finish(item.position, sync::this_member());
    } catch (const Error&) { // the queue has ended
    }
}

void ItemQueue::finish_first() const {
    const sync::Pin pin;
    if (!Ring(object_, memory_, capacity_).finish_first())
        throw std::logic_error("prong::JoinableQueue: task_done() was called more often than items "
                               "were taken");
}

bool ItemQueue::join(Deadline deadline) const {
    const sync::Pin pin;
    return Ring(object_, memory_, capacity_).join(deadline);
}

void ItemQueue::close() const {
    const sync::Pin pin;
    Ring(object_, memory_, capacity_).close();
}

std::size_t ItemQueue::size() const {
    const sync::Pin pin;
    return Ring(object_, memory_, capacity_).size();
}

std::int64_t ItemQueue::max_size() const {
    const sync::Pin pin;
    return Ring(object_, memory_, capacity_).ends().max_size;
}

} // namespace prong::detail
