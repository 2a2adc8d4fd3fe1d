#include "buffer/parcel.hpp"
#include "os/fork_depth.hpp"
#include "shm/memory_limit.hpp"

#include <prong/detail/wire.hpp>
#include <prong/error.hpp>

#include <limits>

namespace prong::detail {
namespace {

using buffer::Cell;
using buffer::Holder;
using buffer::State;

State state_of(ParcelRoute route) noexcept {
    switch (route) {
    case ParcelRoute::task:
        return State::task;
    case ParcelRoute::result:
        return State::result;
    case ParcelRoute::mail:
        break;
    }
    return State::mail;
}

ParcelId id_of(const Cell& cell, std::uint64_t word) noexcept {
    return {.offset = shm::FamilyMemory::find()->offset_of(&cell),
            .stamp = cell.stamp.load(),
            .ticket = Holder::unpack(word).ticket};
}

} // namespace

ParcelHandle::ParcelHandle(SharedCell& cell, std::uint64_t holder) noexcept
    : cell_(&cell), holder_(holder), depth_(os::fork_depth()) {}

bool ParcelHandle::owns() const noexcept {
    return cell_ != nullptr && depth_ == os::fork_depth() &&
           buffer::holder_of(*cell_).is_same(Holder::unpack(holder_));
}

void ParcelHandle::release() noexcept {
    while (owns()) {
        std::uint64_t word = cell_->parcel.holder.load();
        const Holder now = Holder::unpack(word);
        if (!now.is_same(Holder::unpack(holder_))) return;
        if (now.lent && cell_->parcel.kept.load() != 0) { // the next attempt needs it
            const Holder back{.state = State::task,
                              .member = static_cast<sync::MemberId>(cell_->parcel.home.load()) &
                                        sync::member_mask,
                              .ticket = now.ticket};
            if (cell_->parcel.holder.compare_exchange_strong(word, back.pack())) return;
        } else if (buffer::release(*cell_, word)) {
            return;
        }
    }
}

ParcelId ParcelHandle::pledge(Writer& writer) const {
    if (!owns()) return {};
    Pledges& pledges = writer.pledges();
    pledges.prepare();
    std::uint64_t word = cell_->parcel.holder.load();
    const Holder now = Holder::unpack(word);
    const bool stays_lent = now.lent && pledges.route() == ParcelRoute::result;
    Holder next{.state = state_of(pledges.route()), .lent = stays_lent, .member = now.member};
    next.ticket = stays_lent ? now.ticket : buffer::new_ticket();
    const std::uint64_t home = cell_->parcel.home.load();
    if (pledges.route() != ParcelRoute::mail) cell_->parcel.home.store(pledges.home());
    cell_->parcel.item.store(pledges.item());
    while (!cell_->parcel.holder.compare_exchange_strong(word, next.pack())) {
        // Only the claim of the task's parent can have ended.
        if (!Holder::unpack(word).is_same(now)) return {};
        next.lent = false;
    }
    const ParcelId id = id_of(*cell_, next.pack());
    pledges.add(
        {.id = id, .holder = word, .word = next.pack(), .home = home, .position = writer.size()});
    return id;
}

ParcelId ParcelHandle::pledge_copy(Writer& writer) const {
    if (!owns()) return {};
    Pledges& pledges = writer.pledges();
    pledges.prepare();
    Cell* const target = buffer::target_of(*cell_);
    if (target == nullptr) return {};
    const buffer::NewParcel made =
        buffer::make_reference(*target, state_of(pledges.route()), pledges.home(), pledges.item());
    const ParcelId id = id_of(made.cell, made.holder);
    pledges.add({.id = id, .holder = 0, .word = made.holder, .home = 0, .position = writer.size()});
    return id;
}

void ParcelHandle::give_away(int child) const noexcept {
    if (!owns()) return;
    Holder given = Holder::unpack(holder_);
    given.state = State::given;
    std::uint64_t word = cell_->parcel.holder.load();
    // It fails if the child was faster.
    if (Holder::unpack(word).is_same(Holder::unpack(holder_)) &&
        cell_->parcel.holder.compare_exchange_strong(word, given.pack()))
        buffer::note_gift({.cell = cell_, .word = given.pack(), .child = child});
}

void ParcelHandle::adopt() noexcept {
    if (cell_ == nullptr) return;
    const Holder parents = Holder::unpack(holder_);
    std::uint64_t word = cell_->parcel.holder.load();
    Holder now = Holder::unpack(word);
    const Holder mine{
        .state = State::held, .member = sync::this_member(), .ticket = buffer::new_ticket()};
    // The parent may give it away at the same time.
    while (now.ticket == parents.ticket && now.member == parents.member &&
           (now.state == State::held || now.state == State::given)) {
        if (cell_->parcel.holder.compare_exchange_weak(word, mine.pack())) {
            holder_ = mine.pack();
            depth_ = os::fork_depth();
            return;
        }
        now = Holder::unpack(word);
    }
}

SharedBytes SharedBytes::make(std::size_t elements, std::size_t element_bytes,
                              void (* /*mark*/)() noexcept) {
    SharedBytes bytes;
    if (elements == 0) return bytes;
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    const std::size_t size = elements > most / element_bytes ? most : elements * element_bytes;
    shm::FamilyMemory& memory = shm::FamilyMemory::get();
    buffer::sweep_if_due();
    if (size >= shm::large_bytes)
        shm::require_available(size, shm::available_memory(), "a prong::SharedBuffer");
    const buffer::NewParcel made = buffer::make_buffer(size, element_bytes);
    bytes.parcel = ParcelHandle(made.cell, made.holder);
    bytes.data = memory.at(made.data);
    bytes.size = size;
    return bytes;
}

SharedBytes SharedBytes::claim(ObjectKind kind, ParcelId id, std::size_t element_bytes) {
    SharedBytes bytes;
    if (id.stamp == 0) return bytes;
    const shm::FamilyMemory* const memory = shm::FamilyMemory::find();
    if (memory == nullptr || !memory->is_own_stamp(id.stamp))
        throw CodecError("a prong::SharedBuffer or SharedView does not lie in memory that this "
                         "process has: create the first shared object before the process is "
                         "started, or before the pool whose worker it is; other programs cannot "
                         "receive it");
    Cell* const cell = buffer::find(id);
    if (cell != nullptr &&
        (cell->kind.load() != kind || cell->parcel.element_bytes.load() != element_bytes))
        throw CodecError("the encoded bytes are a prong::SharedBuffer or SharedView of another "
                         "type");
    const std::uint64_t word = cell == nullptr ? 0 : buffer::claim(*cell, id);
    if (word == 0)
        throw ObjectGone("a prong::SharedBuffer or SharedView was received before, or is gone: it "
                         "can be decoded once");
    bytes.parcel = ParcelHandle(*cell, word);
    const Cell* const target = buffer::target_of(*cell);
    const std::uint64_t data = target == nullptr ? 0 : target->data.load();
    const std::uint64_t size = target == nullptr ? 0 : target->data_bytes.load();
    if (target == nullptr || size % element_bytes != 0 || !buffer::has_data(*target, data, size))
        throw CodecError("the encoded bytes are no prong::SharedBuffer or SharedView");
    bytes.data = memory->at(data);
    bytes.size = size;
    return bytes;
}

SharedBytes SharedBytes::refer() const {
    SharedBytes bytes;
    if (!parcel.owns()) return bytes;
    Cell* const target = buffer::target_of(*parcel.cell_);
    if (target == nullptr) return bytes;
    const buffer::NewParcel made = buffer::make_reference(*target);
    bytes.parcel = ParcelHandle(made.cell, made.holder);
    bytes.data = data;
    bytes.size = size;
    return bytes;
}

} // namespace prong::detail
