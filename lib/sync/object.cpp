#include <prong/detail/shared_object.hpp>

#include "os/fork_depth.hpp"
#include "shm/family_memory.hpp"
#include "sync/cell.hpp"
#include "sync/object.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <new>

namespace prong::detail {

/// Cells have blocks of this size to themselves: see `SharedCell`.
static constexpr std::uint64_t cell_bytes = std::uint64_t{1} << shm::Payload::smallest_shift;
static_assert(sizeof(SharedCell) <= cell_bytes);

namespace {

[[noreturn]] void throw_gone() {
    throw ObjectGone("the lock, queue or other shared object has ended: the object that created it "
                     "was destroyed, in the process that created it");
}

} // namespace

ObjectHandle::ObjectHandle(ObjectKind kind, std::uint64_t bytes, void (* /*mark*/)() noexcept)
    : cell_(nullptr), stamp_(0), owner_depth_(0) {
    const shm::FamilyMemory& memory = shm::FamilyMemory::get();
    const sync::MemberId owner = sync::this_member();
    shm::Block data{};
    if (bytes != 0) {
        data = memory.allocate(std::max(bytes, 2 * cell_bytes), owner);
        std::fill_n(memory.at(data.offset), bytes, std::byte{0});
    }
    try {
        auto* const place = memory.at(memory.allocate(cell_bytes, owner).offset);
        std::fill_n(place, cell_bytes, std::byte{0});
        cell_ = reinterpret_cast<SharedCell*>(place);
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
    if (!memory->contains(id.offset, cell_bytes) || id.stamp == 0)
        throw CodecError("the encoded bytes are no shared object");
    cell_ = reinterpret_cast<SharedCell*>(memory->at(id.offset));
    if (get().kind.load() != kind)
        throw CodecError("the encoded bytes are a shared object of another kind");
}

SharedCell* ObjectHandle::find() const noexcept {
    return cell_->stamp.load(std::memory_order_acquire) == stamp_ ? cell_ : nullptr;
}

SharedCell& ObjectHandle::get() const {
    if (SharedCell* const cell = find()) return *cell;
    throw_gone();
}

ObjectId ObjectHandle::id() const {
    require();
    return {.offset = shm::FamilyMemory::find()->offset_of(cell_), .stamp = stamp_};
}

void ObjectHandle::end() noexcept {
    if (owner_depth_ == 0 || owner_depth_ != os::fork_depth()) return;
    owner_depth_ = 0;
    const shm::FamilyMemory& memory = *shm::FamilyMemory::find();
    cell_->stamp.store(0);
    sync::wake_sleepers(*cell_);
    if (const std::uint64_t data = cell_->data.load(); data != 0)
        memory.free(data, cell_->data_bytes.load());
    memory.free(memory.offset_of(cell_), cell_bytes);
}

} // namespace prong::detail

namespace prong::sync {

void wake_sleepers(const Cell& cell) noexcept {
    wake_all(futex_of(cell.lock.holder));
    wake_all(cell.semaphore.changes);
    wake_all(cell.event.state);
    wake_all(cell.condition.notifications);
    wake_all(futex_of(cell.barrier.phase));
}

void end_left_object(const shm::Block& block) noexcept {
    if (block.capacity != detail::cell_bytes) return;
    Cell& cell = *reinterpret_cast<Cell*>(shm::FamilyMemory::find()->at(block.offset));
    cell.stamp.store(0);
    wake_sleepers(cell);
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
