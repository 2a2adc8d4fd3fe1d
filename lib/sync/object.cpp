#include <prong/detail/pledges.hpp>
#include <prong/detail/shared_object.hpp>

#include "os/fork_depth.hpp"
#include "os/fork_safe_mutex.hpp"
#include "shm/family_memory.hpp"
#include "sync/cell.hpp"
#include "sync/object.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace prong::sync {
namespace {

static_assert(sizeof(Cell) <= cell_bytes);

/// The memory of an object that has ended while others may still have been at work there.
struct Remains {
    std::uint64_t cell;
    std::uint64_t data;
    std::uint64_t data_bytes;
    std::uint64_t stamp; ///< of a queue; 0: there are no items
    Pinned pinned;
};

// The remains of objects that this process has ended. Those of the parent are not a child's.
constinit os::ForkSafeMutex remains_mutex;
constinit std::vector<Remains>* all_remains = nullptr;
constinit unsigned remains_depth = 0;

void free_memory(const Remains& remains) {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    if (remains.stamp != 0) {
        memory.for_each_owned(owner_of_items(remains.stamp),
                              [&](shm::Block block) { memory.discard(block.offset); });
        detail::drop_mail(remains.stamp);
    }
    if (remains.data != 0) memory.free(remains.data, remains.data_bytes);
    memory.free(remains.cell, cell_bytes);
}

/// Frees what no other thread can be at work with any more, and keeps `more` until then.
void bury(Remains more) {
    const std::lock_guard lock(remains_mutex);
    if (all_remains == nullptr || remains_depth != os::fork_depth())
        all_remains = new std::vector<Remains>;
    remains_depth = os::fork_depth();
    all_remains->push_back(std::move(more));
    std::erase_if(*all_remains, [](Remains& remains) {
        if (!remains.pinned.has_ended()) return false;
        free_memory(remains);
        return true;
    });
}

void wake_sleepers(const Cell& cell) noexcept {
    wake_all(futex_of(cell.lock.holder));
    wake_all(cell.semaphore.changes);
    wake_all(cell.event.state);
    wake_all(cell.condition.notifications);
    wake_all(futex_of(cell.barrier.phase));
    wake_all(cell.queue.items);
    wake_all(cell.queue.room);
    wake_all(cell.queue.finished);
}

/// Returns whether a late access to an object harms no other one of the same kind in its place: a
/// lock is released again, and a condition's waits end for nothing.
bool is_reused_safely(detail::ObjectKind kind) noexcept {
    return kind == detail::ObjectKind::lock || kind == detail::ObjectKind::recursive_lock ||
           kind == detail::ObjectKind::condition;
}

void end_object(Cell& cell) {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    const std::uint64_t stamp = cell.stamp.exchange(0);
    wake_sleepers(cell);
    const std::uint64_t offset = memory.offset_of(&cell);
    const std::uint64_t data = cell.data.load();
    const detail::ObjectKind kind = cell.kind.load();
    if (is_reused_safely(kind)) return memory.free(offset, cell_bytes);
    const bool has_items = kind == detail::ObjectKind::queue;
    bury({.cell = offset,
          .data = data,
          .data_bytes = cell.data_bytes.load(),
          .stamp = has_items ? stamp : 0,
          .pinned = {}});
}

} // namespace

shm::Owner owner_of_items(std::uint64_t stamp) noexcept {
    constexpr shm::Owner no_member = 1U << 30; // members have this bit clear
    return no_member | static_cast<shm::Owner>(stamp % no_member);
}

void end_objects_of(MemberId dead) {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    std::set<std::uint64_t> remaining; // freed later
    memory.for_each_owned(dead, [&](shm::Block block) {
        if (block.capacity != cell_bytes) return;
        auto& cell = *reinterpret_cast<Cell*>(memory.at(block.offset));
        if (cell.stamp.load() == 0) return;
        remaining.insert({block.offset, cell.data.load()});
        end_object(cell);
    });
    // What it had allocated, and not made an object of.
    memory.for_each_owned(dead, [&](shm::Block block) {
        if (!remaining.contains(block.offset)) memory.discard(block.offset);
    });
}

Cell& allocate_cell(shm::Owner owner) {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    auto* const place = memory.at(memory.allocate(cell_bytes, owner).offset);
    // Word by word: a late access to the object that lay here may still read them.
    for (auto& word : std::span(reinterpret_cast<std::uint64_t*>(place), cell_bytes / 8))
        std::atomic_ref(word).store(0, std::memory_order_relaxed);
    return *reinterpret_cast<Cell*>(place);
}

std::byte* further_memory(const Cell& cell, std::uint64_t bytes) {
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    const std::uint64_t offset = cell.data.load();
    if (!memory.contains(offset, bytes)) throw_corrupt();
    return memory.at(offset);
}

void throw_corrupt() {
    throw Error("the memory that this program shares with its processes is corrupt");
}

} // namespace prong::sync

namespace prong::detail {
ObjectHandle::ObjectHandle(ObjectKind kind, std::uint64_t bytes, void (* /*mark*/)() noexcept)
    : cell_(nullptr), stamp_(0), owner_depth_(0) {
    const shm::FamilyMemory& memory = shm::FamilyMemory::get();
    const sync::MemberId owner = sync::this_member();
    shm::Block data{};
    if (bytes != 0) {
        data = memory.allocate(std::max(bytes, 2 * sync::cell_bytes), owner);
        memory.clear(data);
    }
    try {
        cell_ = &sync::allocate_cell(owner);
    } catch (...) {
        if (bytes != 0) memory.free(data.offset, 0);
        throw;
    }
    cell_->data.store(data.offset);
    cell_->data_bytes.store(bytes);
    cell_->kind.store(kind);
    stamp_ = memory.new_stamp();
    cell_->stamp.store(stamp_);
    owner_depth_ = os::fork_depth();
}

ObjectHandle::ObjectHandle(ObjectKind kind, ObjectId id)
    : cell_(nullptr), stamp_(id.stamp), owner_depth_(0) {
    const shm::FamilyMemory* const memory = shm::FamilyMemory::find();
    if (memory == nullptr || !memory->is_own_stamp(id.stamp))
        throw CodecError("a lock, queue or other shared object does not lie in memory that this "
                         "process has: create the first such object before the process is started, "
                         "or before the pool whose worker it is");
    if (!memory->contains(id.offset, sync::cell_bytes) || id.stamp == 0)
        throw CodecError("the encoded bytes are no shared object");
    cell_ = reinterpret_cast<SharedCell*>(memory->at(id.offset));
    if (get().kind.load() != kind)
        throw CodecError("the encoded bytes are a shared object of another kind");
}

void ObjectHandle::throw_gone() {
    throw ObjectGone("the lock, queue or other shared object has ended: the object that created it "
                     "was destroyed, in the process that created it");
}

ObjectId ObjectHandle::id() const {
    require();
    return {.offset = shm::FamilyMemory::find()->offset_of(cell_), .stamp = stamp_};
}

void ObjectHandle::end() noexcept {
    if (owner_depth_ == 0 || owner_depth_ != os::fork_depth()) return;
    owner_depth_ = 0;
    sync::end_object(*cell_);
}

} // namespace prong::detail
