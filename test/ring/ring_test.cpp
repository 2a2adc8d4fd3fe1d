#include "ring/ring.hpp"

#include "ring/fixture.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace {

using prong::executor::SharedState;
using prong::ring::Claim;
using prong::ring::Position;
using prong::ring::Record;
using prong::ring::Ring;
using prong::ring::Status;
using prong::ring::status_of;
using prong::ring::TaskState;
using prong::ring::WorkerIntent;
using prong::test::make_state;

/// The normal lane of a small pool's memory.
struct OneLane {
    explicit OneLane(unsigned workers, std::uint64_t ring_entries = 1 << 12)
        : state(make_state(workers, ring_entries)) {}
    SharedState state;
    Ring& ring = state.lanes[prong::ring::Lane::normal];

    Record& record(std::uint32_t index) { return state.records[index]; }
    WorkerIntent& intent(unsigned worker) { return state.slot(worker).intent; }
    Status status(std::uint32_t index) { return status_of(state.records[index]); }
    std::optional<Claim> claim(std::uint16_t worker) { return prong::test::claim(state, worker); }
};

Position push(Ring& ring, std::uint32_t index) {
    Position position = 0;
    REQUIRE(ring.reserve(~0ULL, position) == Ring::ReserveResult::ok);
    ring.publish(position, index);
    return position;
}

/// A ring just before a wrap of the generations (32 bits), or at its very start.
Position start_position(bool at_wrap) {
    return at_wrap ? (Position{1} << 32) - 100 : 0;
}

} // namespace

TEST_CASE("a queued task is claimed once, by the worker that is named in it") {
    OneLane lane(2);
    push(lane.ring, 5);
    const auto claim = lane.claim(1);
    REQUIRE(claim);
    CHECK(claim->index == 5);
    CHECK(lane.status(5).state == TaskState::running);
    CHECK(lane.status(5).owner == 1);
    CHECK_FALSE(lane.claim(0));
}

TEST_CASE("tasks are claimed in the order of their positions") {
    OneLane lane(1);
    for (std::uint32_t index = 0; index < 10; ++index) push(lane.ring, index);
    for (std::uint32_t index = 0; index < 10; ++index) CHECK(lane.claim(0)->index == index);
}

TEST_CASE("a cancelled task is never claimed, a claimed one never cancelled") {
    OneLane lane(1);
    const auto first = prong::ring::generation_of(push(lane.ring, 0));
    const auto second = prong::ring::generation_of(push(lane.ring, 1));
    CHECK(cancel(lane.record(0), first).after.state == TaskState::cancelled);
    CHECK(cancel(lane.record(0), first).after.state == TaskState::cancelled);
    CHECK(lane.claim(0)->index == 1);
    CHECK(cancel(lane.record(1), second).after.state == TaskState::running);
}

TEST_CASE("a record that is used again is not taken for its earlier task") {
    OneLane lane(1);
    const auto first = prong::ring::generation_of(push(lane.ring, 3));
    REQUIRE(cancel(lane.record(3), first).after.state == TaskState::cancelled);
    push(lane.ring, 3);
    CHECK(cancel(lane.record(3), first).after.state == TaskState::queued);
    CHECK(lane.claim(0)->index == 3);
    CHECK_FALSE(lane.claim(0));
}

TEST_CASE("a head that lags behind, because its worker died, is helped forward") {
    OneLane lane(2);
    push(lane.ring, 0);
    push(lane.ring, 1);
    lane.claim(0);
    // As if worker 0 had died between claim and advance.
    lane.state.control().lanes.cursors[0].head.store(0);
    CHECK(lane.claim(1)->index == 1);
    CHECK_FALSE(lane.ring.has_work());
}

TEST_CASE("a full queue declines until the head moves on") {
    OneLane lane(1);
    Position position = 0;
    REQUIRE(lane.ring.reserve(2, position) == Ring::ReserveResult::ok);
    lane.ring.publish(position, 0);
    REQUIRE(lane.ring.reserve(2, position) == Ring::ReserveResult::ok);
    lane.ring.publish(position, 1);
    CHECK(lane.ring.reserve(2, position) == Ring::ReserveResult::full);
    lane.claim(0);
    CHECK(lane.ring.reserve(2, position) == Ring::ReserveResult::ok);
}

TEST_CASE("a closed queue takes nothing more and is drained when all is claimed") {
    OneLane lane(1);
    push(lane.ring, 0);
    CHECK_FALSE(lane.ring.drained());
    lane.ring.close();
    CHECK(lane.ring.tail() == 1);
    Position position = 0;
    CHECK(lane.ring.reserve(~0ULL, position) == Ring::ReserveResult::closed);
    CHECK_FALSE(lane.ring.drained());
    lane.claim(0);
    CHECK(lane.ring.drained());
}

TEST_CASE("a dead worker's unfinished task is found and buried, and no other") {
    OneLane lane(2);
    push(lane.ring, 0);
    push(lane.ring, 1);
    lane.claim(0);
    lane.claim(1);
    const auto task = unfinished(lane.state.records, 0, lane.intent(0));
    REQUIRE(task);
    CHECK(task->index == 0);
    CHECK(fail_dead(*task, TaskState::died).state == TaskState::died);
    CHECK(lane.status(1).state == TaskState::running);
    CHECK_FALSE(unfinished(lane.state.records, 0, lane.intent(0)));
}

TEST_CASE("a result that was published before the death stays") {
    OneLane lane(1);
    push(lane.ring, 0);
    const auto claim = lane.claim(0);
    REQUIRE(finish(*claim, TaskState::returned).state == TaskState::returned);
    CHECK_FALSE(unfinished(lane.state.records, 0, lane.intent(0)));
    CHECK(fail_dead(*claim, TaskState::died).state == TaskState::returned);
}

TEST_CASE("the step that ends a task returns whether threads wait for it") {
    OneLane lane(1);
    push(lane.ring, 0);
    const auto claim = lane.claim(0);
    CHECK(watch(lane.record(0), Status::watched).flags == Status::watched);
    CHECK(finish(*claim, TaskState::returned).flags == Status::watched);
    CHECK(watch(lane.record(0), Status::watched_with_others).flags == Status::watched);
}

TEST_CASE("a condemned task cannot be finished; what it becomes is its sentence") {
    using prong::ring::Verdict;
    const auto [verdict, end] = GENERATE(table<Verdict, TaskState>({
        {Verdict::timeout, TaskState::timed_out},
        {Verdict::kill, TaskState::killed},
        {Verdict::limit, TaskState::over_limit},
    }));
    OneLane lane(1);
    push(lane.ring, 0);
    const auto claim = lane.claim(0);
    CHECK(condemn(lane.record(0), claim->status, verdict).state == TaskState::condemned);
    CHECK(finish(*claim, TaskState::returned).state == TaskState::condemned);
    CHECK(condemn(lane.record(0), claim->status, Verdict::kill).state == TaskState::condemned);
    CHECK(fail_dead(*claim, TaskState::died).state == end);
}

TEST_CASE("what has ended is neither condemned nor asked to stop, nor is the worker's next task") {
    OneLane lane(1);
    push(lane.ring, 0);
    push(lane.ring, 1);
    const auto first = lane.claim(0);
    REQUIRE(finish(*first, TaskState::returned).state == TaskState::returned);
    const auto verdict = prong::ring::Verdict::timeout;
    CHECK(condemn(lane.record(0), first->status, verdict).state == TaskState::returned);
    CHECK_FALSE(mark_overdue(lane.record(0), first->status).has(Status::stop_requested));
    CHECK_FALSE(request_stop(lane.record(0), first->status.generation).made);
    push(lane.ring, 0);
    lane.claim(0);
    REQUIRE(lane.claim(0)->index == 0);
    CHECK(condemn(lane.record(0), first->status, verdict).state == TaskState::running);
    CHECK_FALSE(mark_overdue(lane.record(0), first->status).has(Status::stop_requested));
    CHECK_FALSE(request_stop(lane.record(0), first->status.generation).made);
}

TEST_CASE("a task that is asked to stop ends as it does by itself, but is not tried again") {
    OneLane lane(1);
    push(lane.ring, 0);
    const auto claim = lane.claim(0);
    const auto asked = request_stop(lane.record(0), claim->status.generation);
    CHECK(asked.made);
    CHECK(asked.after.state == TaskState::running);
    CHECK(asked.after.has(Status::stop_requested));
    CHECK_FALSE(request_stop(lane.record(0), claim->status.generation).made);
    SECTION("it returns") {
        CHECK(finish(*claim, TaskState::returned).state == TaskState::returned);
    }
    SECTION("its worker dies") {
        CHECK(requeue(*claim, lane.intent(0)).state == TaskState::running);
        CHECK(fail_dead(*claim, TaskState::died).state == TaskState::died);
        CHECK_FALSE(claim_retry(lane.state.records, 0, lane.intent(0), lane.intent(0)));
    }
    SECTION("it is overdue, too") {
        CHECK(mark_overdue(lane.record(0), claim->status).has(Status::overdue));
        CHECK(finish(*claim, TaskState::returned).state == TaskState::running);
        CHECK(fail_dead(*claim, TaskState::died).state == TaskState::timed_out);
    }
}

TEST_CASE("a queued task that is asked to stop is cancelled, also when it is to be tried again") {
    OneLane lane(1);
    const auto generation = prong::ring::generation_of(push(lane.ring, 0));
    const bool is_retry = GENERATE(false, true);
    if (is_retry) requeue(*lane.claim(0), lane.intent(0));
    CHECK_FALSE(request_stop(lane.record(0), generation + 1).made);
    const auto asked = request_stop(lane.record(0), generation);
    CHECK(asked.made);
    CHECK(asked.after.state == TaskState::cancelled);
    CHECK_FALSE(lane.claim(0));
    CHECK_FALSE(claim_retry(lane.state.records, 0, lane.intent(0), lane.intent(0)));
    CHECK_FALSE(request_stop(lane.record(0), generation).made);
}

TEST_CASE("an overdue task has timed out, even if it returns") {
    OneLane lane(1);
    push(lane.ring, 0);
    const auto claim = lane.claim(0);
    CHECK(mark_overdue(lane.record(0), claim->status).has(Status::stop_requested));
    CHECK(finish(*claim, TaskState::returned).state == TaskState::running);
    CHECK(finish(*claim, TaskState::timed_out).state == TaskState::timed_out);
}

TEST_CASE("a task that is to be tried again waits for the dead worker's successor") {
    OneLane lane(2);
    const auto generation = prong::ring::generation_of(push(lane.ring, 7));
    push(lane.ring, 8);
    REQUIRE(requeue(*lane.claim(0), lane.intent(0)).state == TaskState::queued);
    CHECK(retried(lane.state.records, lane.intent(0)) == &lane.record(7));
    CHECK(lane.claim(1)->index == 8); // it is in no queue
    SECTION("which claims it first") {
        const auto again = claim_retry(lane.state.records, 0, lane.intent(0), lane.intent(0));
        REQUIRE(again);
        CHECK(again->index == 7);
        CHECK(again->status.generation == generation);
    }
    SECTION("or any other worker, whose intent keeps its own retry") {
        lane.intent(1).retry = 4711;
        CHECK(claim_retry(lane.state.records, 1, lane.intent(1), lane.intent(0))->index == 7);
        CHECK(lane.intent(0).retry == 0);
        CHECK(lane.intent(1).retry == 4711);
    }
    SECTION("and stays noted when a claim fails") {
        REQUIRE(claim_retry(lane.state.records, 0, lane.intent(0), lane.intent(0)));
        const auto retry = lane.intent(0).retry = std::uint64_t{generation} << 32 | 8;
        CHECK_FALSE(claim_retry(lane.state.records, 1, lane.intent(1), lane.intent(0)));
        CHECK(lane.intent(0).retry == retry);
    }
    SECTION("unless it has been cancelled") {
        CHECK(cancel(lane.record(7), generation).after.state == TaskState::cancelled);
        CHECK_FALSE(claim_retry(lane.state.records, 0, lane.intent(0), lane.intent(0)));
    }
    SECTION("unless the record has been used for another one") {
        cancel(lane.record(7), generation);
        push(lane.ring, 7);
        CHECK_FALSE(claim_retry(lane.state.records, 0, lane.intent(0), lane.intent(0)));
    }
    CHECK(retried(lane.state.records, lane.intent(0)) == nullptr);
}

TEST_CASE("an urgent task is claimed before others, and none starves") {
    using prong::ring::Lane;
    SharedState state = make_state(1);
    state.lanes.use_several();
    std::uint32_t index = 0;
    for (const Lane lane : {Lane::low, Lane::normal, Lane::high}) {
        for (int i = 0; i < 100; ++i) push(state.lanes[lane], index++);
    }
    std::array<int, 3> claimed{};
    for (std::uint64_t turn = 0; turn < 64; ++turn)
        ++claimed[prong::test::claim(state, 0, turn)->index / 100];
    CHECK(claimed[2] == 48);
    CHECK(claimed[1] == 12);
    CHECK(claimed[0] == 4);
}

TEST_CASE("a task that leaves any lane wakes the threads that wait for room, and so does the end") {
    using prong::ring::Lane;
    SharedState state = make_state(1);
    state.lanes.use_several();
    prong::ring::RoomWords& room = state.control().lanes.room;
    for (const Lane lane : {Lane::low, Lane::normal, Lane::high}) {
        push(state.lanes[lane], 1);
        const Position position = push(state.lanes[lane], 2);
        const std::uint32_t idle = room.made.load();
        REQUIRE(prong::test::claim(state, 0));
        CHECK(room.made.load() == idle); // no thread waits
        const prong::ring::RoomWords::Waiter waiter(room);
        const std::uint32_t generation = prong::ring::generation_of(position, unsigned(lane));
        REQUIRE(cancel(state.records[2], generation).made);
        state.lanes.forget(lane, 2, generation);
        CHECK(room.made.load() != idle);
        const std::uint32_t cancelled = room.made.load();
        push(state.lanes[lane], 1);
        REQUIRE(prong::test::claim(state, 0));
        CHECK(room.made.load() != cancelled);
    }
    const prong::ring::RoomWords::Waiter waiter(room);
    const std::uint32_t open = room.made.load();
    state.lanes.close();
    CHECK(room.made.load() != open);
}

TEST_CASE("a visit of the queue sees what is queued and nothing else") {
    OneLane lane(1);
    for (std::uint32_t index = 0; index < 4; ++index) push(lane.ring, index);
    lane.claim(0);
    cancel(lane.record(2), 2);
    std::vector<std::uint32_t> seen;
    lane.ring.visit_queued([&](std::uint32_t index, std::uint32_t generation) {
        CHECK(generation == index);
        seen.push_back(index);
    });
    CHECK(seen == std::vector<std::uint32_t>{1, 3});
}

TEST_CASE("of several that cancel or expire a task one has made the step") {
    OneLane lane(1);
    push(lane.ring, 0);
    CHECK(expire(lane.record(0), 0).made);
    CHECK_FALSE(expire(lane.record(0), 0).made);
    CHECK_FALSE(cancel(lane.record(0), 0).made);
}

TEST_CASE("what was cancelled in the queue does not count, at any position") {
    const bool at_wrap = GENERATE(false, true);
    OneLane lane(2);
    lane.ring.start_at(start_position(at_wrap));
    constexpr std::uint32_t tasks = 3000; // several buckets
    std::vector<std::uint32_t> generations;
    for (std::uint32_t index = 0; index < tasks; ++index)
        generations.push_back(prong::ring::generation_of(push(lane.ring, index)));
    std::uint64_t expected = tasks;
    std::mt19937 random(7);
    for (std::uint32_t step = 0; step < 4000; ++step) {
        if (step % 2 == 0) {
            const auto index = static_cast<std::uint32_t>(random() % tasks);
            const bool made = cancel(lane.record(index), generations[index]).made;
            if (made) lane.ring.forget(index, generations[index]);
            expected -= made ? 1U : 0U;
        } else {
            expected -= lane.claim(0) ? 1U : 0U;
        }
        REQUIRE(lane.ring.length() == expected);
    }
    CHECK(lane.ring.length() < lane.ring.entries_ahead());
    while (lane.claim(0)) {
    }
    CHECK(lane.ring.length() == 0);
}

TEST_CASE("what is cancelled when it is to be tried again was not in the queue") {
    OneLane lane(1);
    push(lane.ring, 0);
    push(lane.ring, 1);
    const auto claim = lane.claim(0);
    REQUIRE(requeue(*claim, lane.intent(0)).state == TaskState::queued);
    REQUIRE(cancel(lane.record(0), 0).made);
    lane.ring.forget(0, 0);
    CHECK(lane.ring.length() == 1);
}

TEST_CASE("a full queue takes as many tasks as were cancelled in it, up to its capacity") {
    OneLane lane(1, 1 << 10);
    const std::uint64_t limit = GENERATE(3U, 768U);
    std::uint32_t index = 0;
    Position position = 0;
    const auto fill = [&] {
        while (lane.ring.reserve_by_length(limit, position) == Ring::ReserveResult::ok)
            lane.ring.publish(position, index++);
    };
    fill();
    REQUIRE(index == limit);
    for (std::uint32_t i = 0; i < limit; ++i) {
        REQUIRE(cancel(lane.record(i), i).made);
        lane.ring.forget(i, i);
    }
    fill();
    CHECK(index == std::min<std::uint64_t>(2 * limit, 1 << 10));
    CHECK(lane.claim(0)->index == limit);
}

TEST_CASE("an abandoned task ends without payload, or not yet") {
    OneLane lane(1);
    push(lane.ring, 0);
    const bool before_claim = GENERATE(true, false);
    if (before_claim) CHECK(abandon(lane.record(0), 0).has(Status::abandoned));
    const auto claim = lane.claim(0);
    if (!before_claim) CHECK(abandon(lane.record(0), 0).has(Status::abandoned));
    CHECK(finish(*claim, TaskState::returned, true).state == TaskState::running);
    CHECK(fail_dead(*claim, TaskState::died, true).state == TaskState::running);
    CHECK(finish(*claim, TaskState::returned, false).state == TaskState::returned);
}

TEST_CASE("a task that has ended is not abandoned, nor is the record's next one") {
    OneLane lane(1);
    push(lane.ring, 0);
    const auto claim = lane.claim(0);
    CHECK(finish(*claim, TaskState::returned, true).state == TaskState::returned);
    CHECK_FALSE(abandon(lane.record(0), 0).has(Status::abandoned));
    push(lane.ring, 0);
    CHECK_FALSE(abandon(lane.record(0), 0).has(Status::abandoned));
}

TEST_CASE("an abandoned task that is to be tried again stays abandoned") {
    OneLane lane(1);
    push(lane.ring, 0);
    const auto claim = lane.claim(0);
    abandon(lane.record(0), 0);
    REQUIRE(requeue(*claim, lane.intent(0)).state == TaskState::queued);
    CHECK(lane.status(0).has(Status::abandoned));
}

TEST_CASE("producers and workers pass every task on exactly once, across laps and wraps",
          "[threads]") {
    const bool at_wrap = GENERATE(false, true);
    constexpr unsigned producers = 3;
    constexpr unsigned workers = 3;
    constexpr std::uint32_t records_each = 64;
    const std::uint32_t rounds = prong::test::full_run() ? 20'000 : 400;
    OneLane lane(workers, 1 << 10);
    Ring& ring = lane.ring;
    ring.start_at(start_position(at_wrap));
    std::vector<std::atomic<std::uint32_t>> runs(producers * records_each);
    std::atomic<std::uint32_t> cancelled = 0;

    std::vector<std::thread> threads;
    for (unsigned worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&, worker] {
            const auto owner = static_cast<std::uint16_t>(worker);
            while (!ring.drained()) {
                if (const auto claim = lane.claim(owner)) {
                    ++runs[claim->index];
                    if (finish(*claim, TaskState::returned).state != TaskState::returned)
                        std::abort();
                } else {
                    std::this_thread::yield();
                }
            }
        });
    }
    std::vector<std::thread> submitters;
    for (unsigned producer = 0; producer < producers; ++producer) {
        submitters.emplace_back([&, producer] {
            std::minstd_rand random(producer + 1);
            for (std::uint32_t round = 0; round < rounds; ++round) {
                std::vector<std::uint32_t> generations(records_each);
                for (std::uint32_t i = 0; i < records_each; ++i) {
                    Position position = 0;
                    while (ring.reserve(~0ULL, position) != Ring::ReserveResult::ok) {
                        lane.state.retire_entries();
                        std::this_thread::yield();
                    }
                    const std::uint32_t index = producer * records_each + i;
                    ring.publish(position, index);
                    generations[i] = prong::ring::generation_of(position);
                    if (random() % 8 == 0 &&
                        cancel(lane.record(index), generations[i]).after.state ==
                            TaskState::cancelled) {
                        ++cancelled;
                    }
                }
                for (std::uint32_t i = 0; i < records_each; ++i) {
                    while (!is_final(lane.status(producer * records_each + i).state)) {
                        std::this_thread::yield();
                    }
                }
            }
        });
    }
    for (std::thread& thread : submitters) thread.join();
    ring.close();
    for (std::thread& thread : threads) thread.join();

    std::uint64_t total = cancelled;
    for (const auto& count : runs) total += count;
    CHECK(total == std::uint64_t{producers} * records_each * rounds);
}
