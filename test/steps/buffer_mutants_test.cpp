// The harness of buffer_test.cpp must find what is wrong with buffers that are not prong's: each
// forgets one thing.

#include "steps/buffer_trials.hpp"

#include "os/fork_depth.hpp"
#include "sync/member.hpp"

#include <prong/detail/parcel.hpp>
#include <prong/error.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

using namespace prong::test;
using prong::buffer::Cell;
using prong::buffer::Holder;
using prong::buffer::State;
using prong::detail::ParcelId;

namespace {

enum class Bug {
    none,
    not_lent,        ///< a worker takes an argument for good
    frees_argument,  ///< a worker frees an argument that another attempt needs
    result_as_mail,  ///< a result is not known as that of its task
    held_until_read, ///< a result stays the worker's until the parent decodes it
};

/// As `SharedBuffer<int>`, with a bug.
template <Bug bug>
class WrongBuffer {
public:
    WrongBuffer() = default;
    explicit WrongBuffer(std::size_t size)
        : cell_(&prong::buffer::make_buffer(size * sizeof(int), sizeof(int)).cell),
          word_(cell_->parcel.holder.load()) {}
    WrongBuffer(WrongBuffer&& other) noexcept
        : cell_(std::exchange(other.cell_, nullptr)), word_(other.word_) {}
    WrongBuffer& operator=(WrongBuffer&& other) noexcept {
        std::swap(cell_, other.cell_);
        std::swap(word_, other.word_);
        return *this;
    }
    ~WrongBuffer() {
        if (!owns()) return;
        const Holder now = prong::buffer::holder_of(*cell_);
        if (now.lent && cell_->parcel.kept.load() != 0 && bug != Bug::frees_argument) {
            const Holder back{.state = State::task,
                              .member =
                                  static_cast<prong::sync::MemberId>(cell_->parcel.home.load()) &
                                  prong::sync::member_mask,
                              .ticket = now.ticket};
            cell_->parcel.holder.store(back.pack());
        } else {
            prong::buffer::release(*cell_, now.pack());
        }
    }

    [[nodiscard]] bool owns() const {
        return cell_ != nullptr && prong::buffer::holder_of(*cell_).is_same(Holder::unpack(word_));
    }
    [[nodiscard]] std::size_t size() const {
        return owns() ? cell_->data_bytes.load() / sizeof(int) : 0;
    }
    [[nodiscard]] int* data() const {
        return reinterpret_cast<int*>(prong::shm::FamilyMemory::find()->at(cell_->data.load()));
    }

private:
    friend struct prong::detail::HandleAccess;
    using Parts = ParcelId;
    template <std::same_as<Parts> P>
    explicit WrongBuffer(P id) {
        if (id.stamp == 0) return;
        Cell* const cell = prong::buffer::find(id);
        word_ = cell == nullptr ? 0 : take(*cell, id);
        if (word_ == 0) throw prong::ObjectGone("it is gone");
        cell_ = cell;
    }
    static std::uint64_t take(Cell& cell, const ParcelId& id) {
        const Holder now = prong::buffer::holder_of(cell);
        Holder mine{.state = State::held,
                    .member = prong::sync::this_member(),
                    .ticket = prong::buffer::new_ticket()};
        const bool is_argument = bug == Bug::not_lent && now.state == State::task;
        const bool is_result = bug == Bug::held_until_read && now.state == State::held && !now.lent;
        if (!(is_argument || is_result) || now.ticket != id.ticket)
            return prong::buffer::claim(cell, id);
        cell.parcel.holder.store(mine.pack());
        return mine.pack();
    }

    [[nodiscard]] Parts parts(prong::detail::Writer& writer) const {
        if (!owns()) return {};
        prong::detail::Pledges& pledges = writer.pledges();
        pledges.prepare();
        const bool is_result = pledges.route() == prong::detail::ParcelRoute::result;
        const Holder now = prong::buffer::holder_of(*cell_);
        Holder next{.state = is_result ? State::result : State::task,
                    .lent = is_result && now.lent,
                    .member = now.member,
                    .ticket = is_result && now.lent ? now.ticket : prong::buffer::new_ticket()};
        if (is_result && bug == Bug::result_as_mail) next.state = State::mail;
        if (is_result && bug == Bug::held_until_read) {
            next.state = State::held;
            next.lent = false;
        }
        const std::uint64_t home = cell_->parcel.home.load();
        cell_->parcel.home.store(pledges.home());
        cell_->parcel.item.store(pledges.item());
        cell_->parcel.holder.store(next.pack());
        const ParcelId id{.offset = prong::shm::FamilyMemory::find()->offset_of(cell_),
                          .stamp = cell_->stamp.load(),
                          .ticket = next.ticket};
        pledges.add({.id = id,
                     .holder = now.pack(),
                     .word = next.pack(),
                     .home = home,
                     .position = writer.size()});
        if (next.state == State::held) cell_ = nullptr;
        return id;
    }
    static constexpr bool is_moved_by_encoding = true;

    mutable Cell* cell_ = nullptr;
    std::uint64_t word_ = 0;
};

constexpr Share some{.few = 80, .most = 80};

std::size_t violations(const Trial& trial, const Scenario& scenario) {
    prong::shm::FamilyMemory::get(); // before the workers are forked
    const Tally tally = try_points(trial, scenario, some);
    CHECK(tally.points() > 0);
    UNSCOPED_INFO(tally.examples());
    // What a mutant has left must not be taken for the next one's.
    prong::buffer::for_each_parcel(
        [](Cell& cell) { prong::buffer::release(cell, cell.parcel.holder.load()); });
    return tally.violations();
}

} // namespace

TEST_CASE("a buffer that forgets nothing is found to be right") {
    if (skipped()) return;
    CHECK(violations(killed_with_buffer, buffer_task<WrongBuffer<Bug::none>>) == 0);
    CHECK(violations(killed_with_buffer, retried_buffer_task<WrongBuffer<Bug::none>>) == 0);
}

TEST_CASE("a worker that takes an argument for good is caught") {
    if (skipped()) return;
    using Wrong = WrongBuffer<Bug::not_lent>;
    CHECK(violations(killed_with_buffer, retried_buffer_task<Wrong>) > 0);
}

TEST_CASE("a worker that frees an argument which another attempt needs is caught") {
    if (skipped()) return;
    // The argument is not returned, but destroyed.
    static constexpr Scenario scenario{
        "a buffer that is consumed, and a retry", [](CorePool& pool, RunCounts& runs) {
            const int number = next_value();
            using Wrong = WrongBuffer<Bug::frees_argument>;
            const auto task = with_captures([place = runs.data(), number](Wrong buffer) {
                place->fetch_add(1);
                return is_filled(buffer, number);
            });
            const TaskOptions options{.max_retries = 1};
            Future<bool> future = pool.submit_with(&options, task, filled<Wrong>(number));
            return one({"the task", std::move(future), true, runs[0], Ending::right, 1});
        }};
    CHECK(violations(killed_with_buffer, scenario) > 0);
}

TEST_CASE("a result that is not known as that of its task is caught") {
    if (skipped()) return;
    using Wrong = WrongBuffer<Bug::result_as_mail>;
    CHECK(violations(dropped_and_killed_with_buffer, buffer_task<Wrong>) > 0);
}

TEST_CASE("a result that stays the worker's until the parent decodes it is caught") {
    if (skipped()) return;
    using Wrong = WrongBuffer<Bug::held_until_read>;
    CHECK(violations(dropped_with_buffer, buffer_task<Wrong>) > 0);
}
