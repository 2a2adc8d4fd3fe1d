#include <prong/detail/pledges.hpp>

#include "buffer/parcel.hpp"

#include <prong/detail/wire.hpp>

namespace prong::detail {

void Pledges::take_back(std::size_t position) noexcept {
    while (!pledges_.empty() && pledges_.back().position >= position) {
        const Pledge pledge = pledges_.back();
        pledges_.pop_back();
        buffer::Cell* const cell = buffer::find(pledge.id);
        // A copy of this process by fork takes nothing back.
        const bool is_own = buffer::Holder::unpack(pledge.word).member == sync::this_member();
        if (cell == nullptr || !is_own) continue;
        std::uint64_t word = pledge.word;
        if (pledge.holder == 0) {
            buffer::release(*cell, word);
        } else if (cell->parcel.holder.load() == word) {
            cell->parcel.home.store(pledge.home);
            cell->parcel.holder.compare_exchange_strong(word, pledge.holder);
        }
    }
}

void Pledges::drop(std::size_t position) noexcept {
    while (!pledges_.empty() && pledges_.back().position >= position) {
        const Pledge& pledge = pledges_.back();
        if (buffer::Cell* const cell = buffer::find(pledge.id)) buffer::release(*cell, pledge.word);
        pledges_.pop_back();
    }
}

void Pledges::write_list(Writer& writer) const {
    for (const Pledge& pledge : pledges_) writer.write(&pledge.id, sizeof(pledge.id));
    const std::uint64_t count = pledges_.size();
    writer.write(&count, sizeof(count));
}

void write_pledges(Writer& writer) {
    writer.pledges().write_list(writer);
}

void drop_mail(std::uint64_t item) noexcept {
    buffer::for_each_parcel([item](buffer::Cell& cell) {
        const std::uint64_t word = cell.parcel.holder.load();
        const bool is_mail = buffer::Holder::unpack(word).state == buffer::State::mail;
        if (is_mail && cell.parcel.item.load() == item) buffer::release(cell, word);
    });
}

} // namespace prong::detail
