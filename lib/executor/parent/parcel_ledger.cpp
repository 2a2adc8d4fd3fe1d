#include "executor/parent/parcel_ledger.hpp"

#include "buffer/parcel.hpp"
#include "executor/parent/end_bytes.hpp"

#include <cstring>
#include <exception>
#include <utility>

namespace prong::executor {
namespace {

using detail::ParcelId;

/// Distinguishes the pools of this process.
constinit std::atomic<std::uint32_t> last_pool{0};

} // namespace

std::uint64_t ParcelLedger::open() {
    if (const std::uint64_t home = home_.load()) return home;
    const std::lock_guard lock(mutex_);
    if (home_.load() == 0) {
        shm::FamilyMemory::get();
        const std::uint64_t pool = last_pool.fetch_add(1) + 1;
        home_.store(pool << 32 | sync::this_member());
        state_.control().parcel_home.store(home_.load());
    }
    return home_.load();
}

ParcelLedger::Draft::Draft(ParcelLedger& ledger, std::uint32_t index, const detail::TaskType& type,
                           detail::Pledges* pledges, const TaskOptions* options)
    : ledger_(ledger), index_(index), pledges_(pledges) {
    ledger.open();
    const bool kept = options != nullptr && options->max_retries != 0; // for the next attempt
    Entry entry{.arguments = {}, .returns_parcels = type.returns_parcels, .generation = {}};
    if (pledges != nullptr) entry.arguments.assign(pledges->list().begin(), pledges->list().end());
    for (const auto& pledge : entry.arguments) {
        if (buffer::Cell* const cell = buffer::find(pledge.id)) cell->parcel.kept.store(kept);
    }
    const std::lock_guard lock(ledger.mutex_);
    ledger.entries_.insert_or_assign(index, std::move(entry));
    ledger.count_.store(ledger.entries_.size());
}

void ParcelLedger::Draft::keep(std::uint32_t generation) noexcept {
    kept_ = true;
    if (pledges_ != nullptr) pledges_->post();
    const std::lock_guard lock(ledger_.mutex_);
    ledger_.entries_.find(index_)->second.generation = generation;
}

ParcelLedger::Draft::~Draft() {
    if (kept_) return;
    const std::lock_guard lock(ledger_.mutex_);
    ledger_.entries_.erase(index_);
    ledger_.count_.store(ledger_.entries_.size());
}

void ParcelLedger::settle_entry(const RecordRef& ref) noexcept {
    decltype(entries_)::node_type node;
    bool has_death = false;
    {
        const std::lock_guard lock(mutex_);
        node = entries_.extract(ref.index);
        count_.store(entries_.size());
        const std::uint64_t left = state_.control().left_unfinished.load();
        has_death = std::exchange(left_unfinished_, left) != left;
    }
    if (node) {
        const ring::Status status = ring::status_of(state_.records[ref.index]);
        const bool has_returned =
            status.state == ring::TaskState::returned && status.generation == ref.generation;
        for (const auto& pledge : node.mapped().arguments)
            buffer::settle_argument(pledge.id, has_returned);
        if (has_returned && node.mapped().returns_parcels) settle_result(ref);
    }
    if (has_death) free_orphans(false);
}

/// Frees the parcels in the list at the end of the result, unless they were claimed.
void ParcelLedger::settle_result(const RecordRef& ref) noexcept {
    const ring::Status status = ring::status_of(state_.records[ref.index]);
    const auto bytes = bytes_at_end(state_, ref.index, status);
    std::uint64_t count = 0;
    if (!bytes || bytes->end.size() < sizeof(count)) return;
    std::span<const std::byte> list = bytes->end.first(bytes->end.size() - sizeof(count));
    std::memcpy(&count, list.data() + list.size(), sizeof(count));
    if (count > list.size() / sizeof(ParcelId)) return; // a worker has overwritten it
    list = list.last(count * sizeof(ParcelId));
    const std::uint64_t item = std::uint64_t{ref.index} << 32 | ref.generation;
    for (; !list.empty(); list = list.subspan(sizeof(ParcelId))) {
        ParcelId id{};
        std::memcpy(&id, list.data(), sizeof(id));
        buffer::settle_result(id, home_.load(), item);
    }
}

/// Returns whether the task (`sync::ParcelWords::item`) has a future. `mutex_` is locked.
bool ParcelLedger::is_in_use(std::uint64_t item) const {
    const auto found = entries_.find(static_cast<std::uint32_t>(item >> 32));
    return found != entries_.end() &&
           found->second.generation.value_or(static_cast<std::uint32_t>(item)) ==
               static_cast<std::uint32_t>(item);
}

/// Frees results of tasks that are not in use any more: their workers died before they ended them.
/// `all`: also of the others. Frees what dead workers have held.
void ParcelLedger::free_orphans(bool all) noexcept {
    try {
        const std::lock_guard lock(mutex_);
        buffer::for_each_parcel([&](buffer::Cell& cell) {
            const std::uint64_t word = cell.parcel.holder.load();
            const bool is_result = buffer::Holder::unpack(word).state == buffer::State::result &&
                                   cell.parcel.home.load() == home_.load();
            if (is_result && (all || !is_in_use(cell.parcel.item.load())))
                buffer::release(cell, word);
        });
        buffer::sweep_if_due();
    } catch (const std::exception&) { // no memory: with the next death
    }
}

ParcelLedger::~ParcelLedger() {
    for (const auto& [index, entry] : entries_) { // of tasks without a future
        for (const auto& pledge : entry.arguments) buffer::settle_argument(pledge.id, false);
    }
    if (home_.load() != 0) free_orphans(true);
}

} // namespace prong::executor
