#pragma once

#include "shm/family_memory.hpp"
#include "steps/sync_stage.hpp"
#include "sync/object.hpp"

#include <prong/detail/shared_object.hpp>
#include <prong/queue.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>

/// \file
/// The trials of queues, as sync_trials.hpp has those of other objects. Items are numbers, in the
/// order in which they are put.

namespace prong::test {

/// An item in which one sees that it is not whole.
struct Parcel {
    std::array<int, 40> numbers;

    explicit Parcel(int number = -1) { numbers.fill(number); }
    [[nodiscard]] int number() const { return numbers.front(); }
    [[nodiscard]] bool is_whole() const {
        return std::ranges::all_of(numbers, [&](int n) { return n == number(); });
    }

    template <class Archive>
    void save(Archive& archive) const {
        archive(numbers);
    }
    template <class Archive>
    void load(Archive& archive) {
        archive(numbers);
        after_decoding();
    }

    /// What a process does when it has decoded an item, before `get` finishes that.
    static inline std::function<void()> after_decoding = [] {};
};

using Items = std::multiset<int>;

inline std::string to_string(const Items& items) {
    std::string text = "{";
    for (const int item : items) text += " " + std::to_string(item);
    return text + " }";
}

template <typename Queue>
constexpr bool is_joinable = requires(const Queue& queue) { queue.task_done(); };

template <typename Queue>
class QueueTrial : public SyncTrial {
protected:
    explicit QueueTrial(std::int64_t max_size = 0) : queue_(max_size) {
        // New processes take the slots of dead ones. There are few slots to look at then.
        shm::FamilyMemory::get().header().next_member = 0;
        // At its first position a consumer looks for what dead processes have left.
        queue_.put(Parcel());
        static_cast<void>(get());
    }

    // In the victim.

    void prepare() override {
        SyncTrial::prepare();
        if constexpr (!is_joinable<Queue>)
            Parcel::after_decoding = [this] { is_finishing_->store(true); };
    }
    /// Takes an item, and tells when it finishes that.
    void get_as_victim() {
        queue_.get();
        if constexpr (is_joinable<Queue>) {
            is_finishing_->store(true);
            queue_.task_done();
        }
    }

    // Here.

    /// Waits for an item and finishes it.
    int get() {
        const Parcel parcel = queue_.get();
        if constexpr (is_joinable<Queue>) queue_.task_done();
        if (!parcel.is_whole()) throw std::runtime_error("an item is torn");
        return parcel.number();
    }
    /// Takes all items.
    Items drain() {
        Items items;
        while (!queue_.empty()) items.insert(get());
        return items;
    }
    void require(const Items& items, const Items& expected, Invariants& invariants) {
        invariants.require(items == expected,
                           "there were " + to_string(items) + " instead of " + to_string(expected));
    }

    /// The victim has died while it took this item. Unless it was finishing that, it is there.
    void check_taken(Fate fate, int item, Items others, Invariants& invariants) {
        const Items items = drain();
        const bool is_possible = *is_finishing_ && !fate.returned;
        if (!*is_finishing_ || (is_possible && items.contains(item))) others.insert(item);
        require(items, others, invariants);
        check_recovers(invariants);
    }
    /// The queue is empty. It must be as new, and all blocks that the dead have left come back.
    void check_recovers(Invariants& invariants) {
        constexpr int enough = 1100; // until what was left is reclaimed
        for (int i = 0; i < enough; ++i) {
            if (!queue_.try_put(Parcel(i)))
                return invariants.require(false, "an empty queue is full");
            if (get() != i) return invariants.require(false, "what was put does not come back");
        }
        if constexpr (is_joinable<Queue>)
            invariants.require(queue_.join_for(std::chrono::seconds(0)), "join waits for nothing");
        invariants.require(queue_.empty() && !queue_.try_get(), "an item is left");
        if constexpr (std::derived_from<Queue, detail::BasicQueue<Parcel>>)
            invariants.require(count_blocks() == 0, "blocks of the dead are lost");
    }
    [[nodiscard]] int count_blocks() const {
        int count = 0;
        const auto owner = sync::owner_of_items(detail::HandleAccess::parts(queue_).stamp);
        shm::FamilyMemory::get().for_each_owned(owner, [&](shm::Block) { ++count; });
        return count;
    }

    /// Starts a process that takes an item, and reports which.
    void start_consumer() {
        other_.emplace([this] { *consumed_ = get(); });
        other_->await_sleep();
    }
    /// Returns what it has got.
    int await_consumer(Invariants& invariants) {
        invariants.require(other_->ends(), "one that waits for an item does not get it");
        return *consumed_;
    }

    Queue queue_;
    Shared<std::atomic<bool>> is_finishing_{false};
    Shared<std::atomic<int>> consumed_{-1};
    std::optional<Companion> other_;
};

/// Killed while it puts an item after another one.
template <typename Queue>
class Put : public QueueTrial<Queue> {
    void begin() override { this->queue_.put(Parcel(0)); }
    void act() override { this->queue_.put(Parcel(1)); }
    void check(Fate fate, Invariants& invariants) override {
        invariants.require(this->queue_.size() >= (fate.returned ? 2 : 1), "size() is wrong");
        this->queue_.put(Parcel(2));
        invariants.require(this->get() == 0, "the first item is not the first");
        const Items items = this->drain();
        Items expected{2};
        if (fate.returned || items.contains(1)) expected.insert(1);
        this->require(items, expected, invariants);
        this->check_recovers(invariants);
    }
};

/// Killed while it puts an item that another process waits for.
template <typename Queue>
class PutForWaiter : public QueueTrial<Queue> {
    void begin() override { this->start_consumer(); }
    void act() override { this->queue_.put(Parcel(1)); }
    void check(Fate fate, Invariants& invariants) override {
        if (!fate.returned) this->queue_.put(Parcel(2));
        Items items{this->await_consumer(invariants)};
        items.merge(this->drain());
        Items expected;
        if (!fate.returned) expected.insert(2);
        if (fate.returned || items.contains(1)) expected.insert(1);
        this->require(items, expected, invariants);
        this->check_recovers(invariants);
    }
};

/// Killed while it waits for room, with another process.
template <typename Queue>
class PutWhileFull : public QueueTrial<Queue> {
public:
    PutWhileFull() : QueueTrial<Queue>(1) {}

private:
    void begin() override {
        this->queue_.put(Parcel(0));
        this->other_.emplace([this] { this->queue_.put(Parcel(1)); });
        this->other_->await_sleep();
    }
    void act() override { this->queue_.put(Parcel(2)); }
    void at_sleep() override {
        for (int i = 0; i < 2; ++i) items_.insert(this->get());
    }
    void check(Fate fate, Invariants& invariants) override {
        const bool is_put = eventually([&] {
            items_.merge(this->drain());
            return items_.contains(1) && (items_.contains(2) || !fate.returned);
        });
        invariants.require(is_put && this->other_->ends(),
                           "one that waits for room waits for ever");
        items_.merge(this->drain());
        Items expected{0, 1};
        if (items_.contains(2)) expected.insert(2);
        this->require(items_, expected, invariants);
        this->check_recovers(invariants);
    }

    Items items_;
};

/// Killed while it takes the first item, of one or of three.
template <typename Queue, bool is_alone = false>
class Get : public QueueTrial<Queue> {
    void begin() override {
        for (int i = 0; i < (is_alone ? 1 : 3); ++i) this->queue_.put(Parcel(i));
    }
    void act() override { this->get_as_victim(); }
    void check(Fate fate, Invariants& invariants) override {
        this->check_taken(fate, 0, is_alone ? Items{} : Items{1, 2}, invariants);
    }
};

/// Killed while it waits for an item, with another process.
template <typename Queue>
class GetWhileEmpty : public QueueTrial<Queue> {
    void begin() override { this->start_consumer(); }
    void act() override { this->get_as_victim(); }
    void at_sleep() override {
        this->queue_.put(Parcel(0));
        this->queue_.put(Parcel(1));
        is_put_ = true;
    }
    void check(Fate fate, Invariants& invariants) override {
        if (!is_put_) at_sleep();
        const int other = this->await_consumer(invariants);
        this->check_taken(fate, 1 - other, {}, invariants);
    }

    bool is_put_ = false;
};

/// Killed while it takes an item that a consumer had that has died.
template <typename Queue>
class GetFromDead : public QueueTrial<Queue> {
    void begin() override {
        this->queue_.put(Parcel(0));
        const Shared<std::atomic<bool>> is_taken{false};
        Companion consumer([&] {
            const auto stay = [&] {
                *is_taken = true;
                for (;;) pause();
            };
            if (!is_joinable<Queue>) Parcel::after_decoding = stay;
            this->queue_.get();
            stay();
        });
        if (!eventually([&] { return is_taken->load(); })) throw std::runtime_error("no consumer");
        consumer.kill();
    }
    void act() override { this->get_as_victim(); }
    void check(Fate fate, Invariants& invariants) override {
        if constexpr (is_joinable<Queue>) {
            if (this->queue_.empty()) {
                invariants.require(*this->is_finishing_, "an item is lost");
            } else {
                Delivery delivery;
                invariants.require(this->queue_.get(delivery).number() == 0, "the wrong item");
                this->queue_.task_done();
                invariants.require(delivery.count == 2 || delivery.count == 3,
                                   "the deliveries are not counted");
                invariants.require(!fate.returned, "an item that is done comes again");
            }
            this->check_recovers(invariants);
        } else {
            this->check_taken(fate, 0, {}, invariants);
        }
    }
};

/// Killed while it says that it is done with an item. Another process waits for that.
template <typename Queue>
class TaskDone : public QueueTrial<Queue> {
    void prepare() override {
        QueueTrial<Queue>::prepare();
        this->queue_.get();
    }
    void prepare_beside() override { this->queue_.put(Parcel(0)); }
    void begin() override {
        this->other_.emplace([this] { this->queue_.join(); });
        this->other_->await_sleep();
    }
    void act() override { this->queue_.task_done(); }
    void check(Fate fate, Invariants& invariants) override {
        const Items items = this->drain();
        invariants.require(items.empty() || !fate.returned, "an item that is done comes again");
        invariants.require(this->other_->ends(), "join waits for ever");
        this->check_recovers(invariants);
    }
};

/// Killed while it waits until this process is done with an item, with another process.
class JoinItems : public QueueTrial<JoinableQueue<Parcel>> {
    void begin() override {
        queue_.put(Parcel(0));
        queue_.get();
        other_.emplace([this] { queue_.join(); });
        other_->await_sleep();
    }
    void act() override { queue_.join(); }
    void at_sleep() override {
        queue_.task_done();
        is_done_ = true;
    }
    void check(Fate fate, Invariants& invariants) override {
        invariants.require(is_done_ || !fate.returned, "join did not wait");
        if (!is_done_) queue_.task_done();
        invariants.require(other_->ends(), "join waits for ever");
        check_recovers(invariants);
    }

    bool is_done_ = false;
};

/// Waits until an operation on a queue throws because the queue is closed.
template <typename Error, typename Operation>
void await_error(Operation operation) {
    try {
        operation();
    } catch (const Error&) {
        return;
    }
    throw std::runtime_error("was not told that the queue is closed");
}

/// Killed while it closes a queue in which an item is left, and another process waits for room.
class CloseWhileFull : public QueueTrial<Queue<Parcel>> {
public:
    CloseWhileFull() : QueueTrial(1) {}

private:
    void begin() override {
        queue_.put(Parcel(0));
        other_.emplace([this] { await_error<QueueClosed>([this] { queue_.put(Parcel(1)); }); });
        other_->await_sleep();
    }
    void act() override { queue_.close(); }
    void check(Fate fate, Invariants& invariants) override {
        if (!fate.returned) queue_.close();
        invariants.require(other_->ends(), "one that waits for room is not told of the end");
        require(drain(), {0}, invariants);
        try {
            queue_.get();
            invariants.require(false, "a queue that is closed has an item");
        } catch (const EndOfFile&) {
        }
    }
};

/// The same, while another process waits for an item.
class CloseWhileEmpty : public QueueTrial<Queue<Parcel>> {
    void begin() override {
        other_.emplace([this] { await_error<EndOfFile>([this] { queue_.get(); }); });
        other_->await_sleep();
    }
    void act() override { queue_.close(); }
    void check(Fate fate, Invariants& invariants) override {
        if (!fate.returned) queue_.close();
        invariants.require(other_->ends(), "one that waits for an item is not told of the end");
    }
};

/// Killed while it frees the block that a producer has left.
class Reclaim : public QueueTrial<Queue<Parcel>> {
    void begin() override {
        for (int i = 1; i < 1024; ++i) { // to the next position where it is looked for blocks
            queue_.put(Parcel(i));
            get();
        }
        const Shared<Gate> gate;
        Companion producer([&] {
            sync::this_member();
            gate->pass();
            curtain_up();
            queue_.put(Parcel(0));
        });
        if (!gate->await_arrivals(1)) throw std::runtime_error("no producer");
        Tracee tracee(producer.pid());
        tracee.interrupt();
        gate->open();
        tracee.run_to({.places = {address_of(&curtain_up)}});
        while (count_blocks() == 0) tracee.step();
        tracee.kill();
        producer.forget();
    }
    void act() override { static_cast<void>(queue_.try_get()); }
    void check(Fate fate, Invariants& invariants) override {
        invariants.require(count_blocks() == 0 || !fate.returned, "nothing is reclaimed");
        check_recovers(invariants);
    }
};

} // namespace prong::test
