#include "buffer/parcel.hpp"

#include "os/fork_safe_mutex.hpp"
#include "sync/object.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <exception>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

namespace prong::buffer {
namespace {

using sync::cell_bytes;

// Owners of blocks: members have the two highest bits clear, items of queues the highest one.
constexpr shm::Owner cells_owner = 3U << 30;
constexpr shm::Owner no_member = 2U << 30;

const shm::FamilyMemory& memory() noexcept {
    return *shm::FamilyMemory::find();
}

/// Returns the owner of the block that the buffer's elements lie in.
shm::Owner owner_of_data(std::uint64_t cell) noexcept {
    return no_member | static_cast<shm::Owner>(cell / cell_bytes % (1U << 30));
}

/// How many references there are to a buffer, its owner included: a word of its cell.
struct References {
    /// The process that frees the buffer, as the last reference has ended; else 0.
    MemberId freer = 0;
    std::uint32_t count = 0;
    std::uint32_t version = 0; ///< 31 bits: changes with every further reference

    [[nodiscard]] std::uint64_t pack() const noexcept {
        if (freer != 0) return std::uint64_t{1} << 63 | freer;
        return std::uint64_t{version & 0x7fffffff} << 32 | count;
    }
    static References unpack(std::uint64_t word) noexcept {
        if (word >> 63 != 0) return {.freer = static_cast<MemberId>(word) & sync::member_mask};
        return {.count = static_cast<std::uint32_t>(word),
                .version = static_cast<std::uint32_t>(word >> 32)};
    }
};

/// Frees a cell that this process alone uses. The block becomes this process's first: if that dies,
/// it is freed with the process's other blocks.
void free_cell(Cell& cell) noexcept {
    const std::uint64_t offset = memory().offset_of(&cell);
    const MemberId self = sync::this_member();
    cell.stamp.store(0);
    memory().give(offset, cells_owner, self);
    if (!memory().belongs_to(offset, self)) return;
    cell.parcel.holder.store(0);
    cell.parcel.references.store(0);
    memory().free(offset, cell_bytes);
}

/// Frees a buffer whose last reference this process has ended.
void free_buffer(Cell& cell) noexcept {
    const std::uint64_t data = cell.data.load();
    const std::uint64_t bytes = cell.data_bytes.load();
    if (has_data(cell, data, bytes)) memory().free(data, bytes);
    free_cell(cell);
}

void add_reference(Cell& buffer) noexcept {
    std::uint64_t word = buffer.parcel.references.load();
    References next;
    do {
        next = References::unpack(word);
        ++next.count;
        ++next.version;
    } while (!buffer.parcel.references.compare_exchange_weak(word, next.pack()));
}

/// Returns whether it was the last one.
bool end_reference(Cell& buffer) noexcept {
    std::uint64_t word = buffer.parcel.references.load();
    References next;
    do {
        next = References::unpack(word);
        if (next.freer != 0 || next.count == 0) return false; // corrupt
        if (--next.count == 0) next.freer = sync::this_member();
    } while (!buffer.parcel.references.compare_exchange_weak(word, next.pack()));
    return next.freer != 0;
}

/// Frees a parcel that this process has moved to `counting`.
void end_parcel(Cell& cell, std::uint64_t counting) noexcept {
    if (cell.kind.load() == detail::ObjectKind::buffer) {
        if (end_reference(cell)) return free_buffer(cell);
        const Holder gone{.state = State::gone};
        cell.parcel.holder.compare_exchange_strong(counting, gone.pack());
    } else {
        Cell* const target = target_of(cell);
        const bool is_last = target != nullptr && end_reference(*target);
        if (is_last) free_buffer(*target);
        free_cell(cell);
    }
}

/// Makes a cell that this process owns, and counts. Returns its word.
std::pair<Cell&, Holder> make_cell(detail::ObjectKind kind, std::uint64_t data,
                                   std::uint64_t element_bytes) {
    const MemberId self = sync::this_member();
    Cell& cell = sync::allocate_cell(self);
    cell.data.store(data);
    cell.kind.store(kind);
    cell.parcel.element_bytes.store(element_bytes);
    const Holder counting{.state = State::counting, .member = self, .ticket = new_ticket()};
    cell.parcel.holder.store(counting.pack());
    return {cell, counting};
}

/// Ends the counting of a new parcel, which is in this state then.
NewParcel finish_cell(Cell& cell, Holder holder, State state, std::uint64_t data) noexcept {
    holder.state = state;
    cell.parcel.holder.store(holder.pack());
    return {.cell = cell, .holder = holder.pack(), .data = data};
}

/// From here on others find the cell.
void show_cell(Cell& cell) noexcept {
    cell.stamp.store(memory().new_stamp());
    memory().give(memory().offset_of(&cell), sync::this_member(), cells_owner);
}

Cell* cell_at(std::uint64_t offset, std::uint64_t stamp) noexcept {
    if (offset % cell_bytes != 0 || !memory().contains(offset, cell_bytes)) return nullptr;
    auto& cell = *reinterpret_cast<Cell*>(memory().at(offset));
    return stamp != 0 && cell.stamp.load() == stamp ? &cell : nullptr;
}

/// Which members live. To ask takes system calls for some members, so each is asked once.
class Living {
public:
    bool operator()(MemberId member) {
        const auto [place, is_new] = known_.try_emplace(member, false);
        if (is_new) place->second = member != 0 && sync::lives(member);
        return place->second;
    }

private:
    std::unordered_map<MemberId, bool> known_;
};

/// Returns whether no process is left that could claim, hold or free the parcel.
bool is_ownerless(const Cell& cell, Holder holder, Living& lives) {
    const auto home = static_cast<MemberId>(cell.parcel.home.load()) & sync::member_mask;
    switch (holder.state) {
    case State::held:
        return !lives(holder.member) && !(holder.lent && lives(home));
    case State::task:
        return !lives(holder.member);
    case State::result:
        return !lives(holder.member) && !lives(home);
    default:
        return false;
    }
}

/// Returns whether a parcel in this state counts as a reference to its buffer.
bool is_reference(State state) noexcept {
    return state == State::held || state == State::task || state == State::result ||
           state == State::mail || state == State::given;
}

/// Guards `the_gifts`. Never destroyed: other static objects may still make buffers.
constinit os::ForkSafeMutex gifts_mutex;
constinit std::vector<Gift>* the_gifts = nullptr;

/// Frees the gifts of children that have ended before they took them over.
void free_orphaned_gifts() noexcept {
    const std::lock_guard lock(gifts_mutex);
    if (the_gifts == nullptr) return;
    std::erase_if(*the_gifts, [](const Gift& gift) {
        if (gift.cell->parcel.holder.load() != gift.word) return true; // it was taken over
        if (kill(gift.child, 0) == 0 || errno != ESRCH) return false;
        release(*gift.cell, gift.word);
        return true;
    });
}

/// What a sweep finds out about a buffer.
struct Count {
    Cell* buffer;
    std::uint64_t before; ///< its word, before the references were counted
    std::uint32_t references = 0;
    bool is_certain = true;
};

} // namespace

std::uint32_t new_ticket() noexcept {
    return static_cast<std::uint32_t>(memory().new_stamp() & 0x3fffffff);
}

NewParcel make_buffer(std::uint64_t bytes, std::uint64_t element_bytes) {
    const MemberId self = sync::this_member();
    // Blocks of the smallest size are for cells alone.
    const shm::Block data = memory().allocate(std::max(bytes, 2 * cell_bytes), self);
    const auto [cell, holder] = [&] {
        try {
            return make_cell(detail::ObjectKind::buffer, data.offset, element_bytes);
        } catch (...) {
            memory().free(data.offset, 0);
            throw;
        }
    }();
    cell.data_bytes.store(bytes);
    cell.parcel.references.store(References{.count = 1}.pack());
    const NewParcel made = finish_cell(cell, holder, State::held, data.offset);
    show_cell(cell);
    // If this process dies before this step, the block is freed with its others.
    memory().give(data.offset, self, owner_of_data(memory().offset_of(&cell)));
    return made;
}

NewParcel make_reference(Cell& target, State state, std::uint64_t home, std::uint64_t item) {
    const std::uint64_t data = memory().offset_of(&target);
    const auto [cell, holder] =
        make_cell(detail::ObjectKind::view, data, target.parcel.element_bytes.load());
    cell.parcel.target.store(target.stamp.load());
    cell.parcel.home.store(home);
    cell.parcel.item.store(item);
    show_cell(cell);
    add_reference(target);
    return finish_cell(cell, holder, state, data);
}

Cell* target_of(Cell& cell) noexcept {
    if (cell.kind.load() == detail::ObjectKind::buffer) return &cell;
    Cell* const target = cell_at(cell.data.load(), cell.parcel.target.load());
    const bool is_buffer = target != nullptr && target->kind.load() == detail::ObjectKind::buffer;
    return is_buffer ? target : nullptr;
}

bool has_data(const Cell& buffer, std::uint64_t data, std::uint64_t bytes) noexcept {
    return memory().contains(data, bytes) &&
           memory().belongs_to(data, owner_of_data(memory().offset_of(&buffer)));
}

Cell* find(const ParcelId& id) noexcept {
    if (shm::FamilyMemory::find() == nullptr) return nullptr;
    Cell* const cell = cell_at(id.offset, id.stamp);
    if (cell == nullptr || !memory().belongs_to(id.offset, cells_owner)) return nullptr;
    return cell;
}

std::uint64_t claim(Cell& cell, const ParcelId& id) noexcept {
    const MemberId self = sync::this_member();
    std::uint64_t word = cell.parcel.holder.load();
    for (;;) {
        const Holder now = Holder::unpack(word);
        if (now.ticket != id.ticket || cell.stamp.load() != id.stamp) return 0;
        Holder next{.state = State::held, .member = self};
        switch (now.state) {
        case State::task:
            next.lent = true;
            break;
        case State::mail:
            break;
        case State::held:
        case State::result:
            // Another attempt at a task gets what the last one had.
            next.lent = now.lent && !sync::lives(now.member);
            if (now.state == State::held && !next.lent) return 0;
            break;
        default:
            return 0;
        }
        next.ticket = next.lent ? now.ticket : new_ticket();
        if (cell.parcel.holder.compare_exchange_weak(word, next.pack())) return next.pack();
    }
}

bool release(Cell& cell, std::uint64_t holder) noexcept {
    const Holder counting{
        .state = State::counting, .member = sync::this_member(), .ticket = new_ticket()};
    if (!cell.parcel.holder.compare_exchange_strong(holder, counting.pack())) return false;
    end_parcel(cell, counting.pack());
    return true;
}

void settle_argument(const ParcelId& id, bool is_result) noexcept {
    Cell* const cell = find(id);
    if (cell == nullptr) return;
    std::uint64_t word = cell->parcel.holder.load();
    for (;;) {
        const Holder now = Holder::unpack(word);
        if (now.ticket != id.ticket || cell->stamp.load() != id.stamp) return;
        if (now.state == State::held && now.lent && sync::lives(now.member)) {
            Holder kept = now;
            kept.lent = false;
            if (cell->parcel.holder.compare_exchange_weak(word, kept.pack())) {
                cell->parcel.kept.store(0);
                return;
            }
            continue;
        }
        const bool is_free = now.state == State::task || (now.state == State::held && now.lent) ||
                             (now.state == State::result && now.lent && !is_result);
        if (!is_free || release(*cell, word)) return;
        word = cell->parcel.holder.load();
    }
}

void settle_result(const ParcelId& id, std::uint64_t home, std::uint64_t item) noexcept {
    Cell* const cell = find(id);
    if (cell == nullptr) return;
    const std::uint64_t word = cell->parcel.holder.load();
    const Holder now = Holder::unpack(word);
    const bool is_unclaimed = now.state == State::result && now.ticket == id.ticket &&
                              cell->parcel.home.load() == home && cell->parcel.item.load() == item;
    if (is_unclaimed) release(*cell, word);
}

void for_each_parcel(const std::function<void(Cell&)>& visit) {
    if (shm::FamilyMemory::find() == nullptr) return;
    memory().for_each_owned(cells_owner, [&](shm::Block block) {
        if (block.capacity != cell_bytes) return;
        auto& cell = *reinterpret_cast<Cell*>(memory().at(block.offset));
        if (cell.stamp.load() != 0) visit(cell);
    });
}

bool sweep() {
    const MemberId self = sync::this_member();
    Living lives;
    std::unordered_map<std::uint64_t, Count> counts; // by the buffer's stamp
    for_each_parcel([&](Cell& cell) {
        const std::uint64_t word = cell.parcel.holder.load();
        if (is_ownerless(cell, Holder::unpack(word), lives)) release(cell, word);
    });
    for_each_parcel([&](Cell& cell) {
        if (cell.kind.load() != detail::ObjectKind::buffer) return;
        const std::uint64_t before = cell.parcel.references.load();
        const MemberId freer = References::unpack(before).freer;
        if (freer == 0) {
            counts.emplace(cell.stamp.load(), Count{.buffer = &cell, .before = before});
        } else if (!lives(freer)) {
            std::uint64_t seen = before;
            const References mine{.freer = self};
            if (cell.parcel.references.compare_exchange_strong(seen, mine.pack()))
                free_buffer(cell);
        }
    });
    // The words of the buffers are read before the references, which are there before they count.
    for_each_parcel([&](Cell& cell) {
        const bool is_buffer = cell.kind.load() == detail::ObjectKind::buffer;
        const auto found = counts.find(is_buffer ? cell.stamp.load() : cell.parcel.target.load());
        const std::uint64_t word = cell.parcel.holder.load();
        const Holder holder = Holder::unpack(word);
        const bool is_dead = holder.state == State::counting && !lives(holder.member);
        if (found != counts.end()) {
            if (holder.state == State::counting && !is_dead) found->second.is_certain = false;
            if (is_reference(holder.state)) ++found->second.references;
        }
        if (!is_dead) return;
        // Whether the dead process has counted it is unknown: the count is corrected below.
        std::uint64_t seen = word;
        const Holder next{.state = is_buffer ? State::gone : State::counting,
                          .member = is_buffer ? 0 : self,
                          .ticket = is_buffer ? 0 : new_ticket()};
        if (cell.parcel.holder.compare_exchange_strong(seen, next.pack()) && !is_buffer)
            free_cell(cell);
    });
    bool is_complete = true;
    for (auto& [stamp, count] : counts) {
        const References before = References::unpack(count.before);
        if (!count.is_certain) is_complete = false;
        if (!count.is_certain || before.count == count.references) continue;
        References next{.count = count.references, .version = before.version + 1};
        if (next.count == 0) next.freer = self;
        if (count.buffer->parcel.references.compare_exchange_strong(count.before, next.pack()) &&
            next.freer != 0)
            free_buffer(*count.buffer);
    }
    return is_complete;
}

void note_gift(const Gift& gift) noexcept {
    const std::lock_guard lock(gifts_mutex);
    try {
        if (the_gifts == nullptr) the_gifts = new std::vector<Gift>;
        the_gifts->push_back(gift);
    } catch (const std::bad_alloc&) { // see the declaration
    }
}

void sweep_if_due() noexcept {
    free_orphaned_gifts();
    static constinit os::ForkSafeMutex mutex;
    static constinit std::uint32_t swept = 0;
    const std::lock_guard lock(mutex);
    const std::uint32_t deaths = sync::count_deaths();
    if (deaths == swept) return;
    try {
        if (sweep()) swept = deaths;
    } catch (const std::exception&) { // no memory: later
    }
}

} // namespace prong::buffer
