// The harness of queue_test.cpp must find what is wrong with queues that are not prong's: each is
// written as an engineer may write it who forgets one thing.

#include "steps/queue_trials.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <stdexcept>

using namespace prong::test;
using prong::detail::Deadline;
using prong::sync::MemberId;

namespace {

enum class Bug {
    reserve_then_write, ///< a producer takes its place, then writes the item
    take_then_name,     ///< an item is taken, then its consumer named
    finish_then_decode, ///< a consumer removes an item, then decodes it
    finish_then_count,  ///< `task_done` finishes an item, then counts it
};

template <Bug bug>
class SmallQueue {
public:
    explicit SmallQueue(std::int64_t) {}

    void put(const Parcel& parcel) const {
        words_->undone.fetch_add(1);
        Place& place = words_->places.at(words_->tail.fetch_add(1));
        place.parcel = parcel;
        place.state = offered;
        announce();
    }
    [[nodiscard]] bool try_put(const Parcel& parcel) const {
        put(parcel);
        return true;
    }
    Parcel get() const {
        const Deadline deadline = Deadline::after(patience);
        for (;;) {
            const std::uint32_t seen = words_->changes;
            if (const auto parcel = try_get()) return *parcel;
            if (deadline.passed()) throw std::runtime_error("an item never comes");
            prong::sync::sleep_on(words_->changes, seen, deadline);
        }
    }
    [[nodiscard]] std::optional<Parcel> try_get() const {
        Place* const place = find();
        if (place == nullptr || !take(*place)) return std::nullopt;
        if (bug == Bug::finish_then_decode) place->state = done;
        const Parcel parcel = place->parcel;
        Parcel::after_decoding();
        if (bug != Bug::finish_then_count) place->state = done;
        return parcel;
    }
    [[nodiscard]] std::size_t size() const { return find() == nullptr ? 0 : 1; }
    [[nodiscard]] bool empty() const { return size() == 0; }

    void task_done() const
        requires(bug == Bug::finish_then_count)
    {
        for (Place& place : words_->places) {
            std::uint64_t mine = taken | prong::sync::this_member();
            if (!place.state.compare_exchange_strong(mine, done)) continue;
            words_->undone.fetch_sub(1);
            return announce();
        }
        throw std::logic_error("no item was taken");
    }
    [[nodiscard]] bool join_for(prong::Timeout timeout) const {
        const Deadline deadline = Deadline::after(timeout);
        for (;;) {
            const std::uint32_t seen = words_->changes;
            if (words_->undone == 0) return true;
            if (deadline.passed()) return false;
            prong::sync::sleep_on(words_->changes, seen, deadline);
        }
    }
    void join() const {
        if (!join_for(patience)) throw std::runtime_error("an item is never done");
    }

private:
    // States of a place; `taken` has the member below it.
    static constexpr std::uint64_t offered = std::uint64_t{1} << 32;
    static constexpr std::uint64_t taken = std::uint64_t{2} << 32;
    static constexpr std::uint64_t done = std::uint64_t{3} << 32;

    struct Place {
        std::atomic<std::uint64_t> state;
        Parcel parcel;
    };
    struct Words {
        std::array<Place, 1200> places;
        std::atomic<std::size_t> tail;
        std::atomic<int> undone;
        prong::os::FutexWord changes;
    };

    /// Returns the first place with an item that no living process has.
    [[nodiscard]] Place* find() const {
        for (Place& place : words_->places) {
            const std::uint64_t state = place.state;
            if (state == 0) return nullptr;
            const auto taker = static_cast<MemberId>(state);
            if (state == offered || (taker != 0 && !prong::sync::lives(taker))) return &place;
        }
        return nullptr;
    }
    static bool take(Place& place) {
        const MemberId self = prong::sync::this_member();
        std::uint64_t state = place.state;
        if (state == done) return false;
        const std::uint64_t first = bug == Bug::take_then_name ? taken : taken | self;
        if (!place.state.compare_exchange_strong(state, first)) return false;
        place.state = taken | self;
        return true;
    }
    void announce() const {
        words_->changes.fetch_add(1);
        prong::sync::wake_all(words_->changes);
    }

    Shared<Words> words_;
};

} // namespace

TEST_CASE("a queue whose producer takes its place before it writes is caught") {
    if (skipped()) return;
    CHECK(violations<Put<SmallQueue<Bug::reserve_then_write>>>("a place that is taken first") > 0);
}

TEST_CASE("a queue that names a consumer too late is caught") {
    if (skipped()) return;
    CHECK(violations<Get<SmallQueue<Bug::take_then_name>>>("an item that is taken, then named",
                                                           {.few = 1000, .most = 1000}) > 0);
}

TEST_CASE("a queue that removes an item before it is decoded is caught") {
    if (skipped()) return;
    CHECK(violations<Get<SmallQueue<Bug::finish_then_decode>>>("an item that is removed first") >
          0);
}

TEST_CASE("a queue that counts an item after it is done is caught") {
    if (skipped()) return;
    CHECK(violations<TaskDone<SmallQueue<Bug::finish_then_count>>>(
              "an item that is counted last", {.few = 1000, .most = 1000}) > 0);
}
