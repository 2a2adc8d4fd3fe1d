#include "ring/ring.hpp"

#include "ring/fixture.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace {

using prong::pool::SharedState;
using prong::ring::Claim;
using prong::ring::Position;
using prong::ring::Ring;
using prong::ring::Status;
using prong::ring::TaskState;
using prong::test::make_state;

Position push(Ring& ring, std::uint32_t index) {
    Position position = 0;
    REQUIRE(ring.reserve(~0ULL, position) == Ring::Refusal::none);
    ring.publish(position, index);
    return position;
}

Status status_of(const Ring& ring, std::uint32_t index) {
    return Status::unpack(ring.record(index).status.load());
}

/// A ring just before a wrap of the generations (32 bits), or at its very start.
Position start_position(bool at_wrap) {
    return at_wrap ? (Position{1} << 32) - 100 : 0;
}

} // namespace

TEST_CASE("a queued task is claimed once, by the worker that is named in it") {
    SharedState state = make_state(2);
    Ring& ring = state.ring;
    push(ring, 5);
    const auto claim = ring.claim(1, state.slot(1).note);
    REQUIRE(claim);
    CHECK(claim->index == 5);
    CHECK(status_of(ring, 5).state == TaskState::running);
    CHECK(status_of(ring, 5).owner == 1);
    CHECK_FALSE(ring.claim(0, state.slot(0).note));
}

TEST_CASE("tasks are claimed in the order of their positions") {
    SharedState state = make_state(1);
    for (std::uint32_t index = 0; index < 10; ++index) push(state.ring, index);
    for (std::uint32_t index = 0; index < 10; ++index) {
        CHECK(state.ring.claim(0, state.slot(0).note)->index == index);
    }
}

TEST_CASE("a cancelled task is never claimed, a claimed one never cancelled") {
    SharedState state = make_state(1);
    Ring& ring = state.ring;
    const auto first = prong::ring::generation_of(push(ring, 0));
    const auto second = prong::ring::generation_of(push(ring, 1));
    CHECK(ring.cancel(0, first).state == TaskState::cancelled);
    CHECK(ring.cancel(0, first).state == TaskState::cancelled);
    CHECK(ring.claim(0, state.slot(0).note)->index == 1);
    CHECK(ring.cancel(1, second).state == TaskState::running);
}

TEST_CASE("a record that is used again is not taken for its earlier task") {
    SharedState state = make_state(1);
    Ring& ring = state.ring;
    const auto first = prong::ring::generation_of(push(ring, 3));
    REQUIRE(ring.cancel(3, first).state == TaskState::cancelled);
    push(ring, 3);
    CHECK(ring.cancel(3, first).state == TaskState::queued);
    CHECK(ring.claim(0, state.slot(0).note)->index == 3);
    CHECK_FALSE(ring.claim(0, state.slot(0).note));
}

TEST_CASE("a head that lags behind, because its worker died, is helped forward") {
    SharedState state = make_state(2);
    Ring& ring = state.ring;
    push(ring, 0);
    push(ring, 1);
    ring.claim(0, state.slot(0).note);
    ring.cursor().head.store(0); // as if worker 0 had died between claim and advance
    CHECK(ring.claim(1, state.slot(1).note)->index == 1);
    CHECK_FALSE(ring.has_work());
}

TEST_CASE("a full queue declines until the head moves on") {
    SharedState state = make_state(1);
    Ring& ring = state.ring;
    Position position = 0;
    REQUIRE(ring.reserve(2, position) == Ring::Refusal::none);
    ring.publish(position, 0);
    REQUIRE(ring.reserve(2, position) == Ring::Refusal::none);
    ring.publish(position, 1);
    CHECK(ring.reserve(2, position) == Ring::Refusal::full);
    ring.claim(0, state.slot(0).note);
    CHECK(ring.reserve(2, position) == Ring::Refusal::none);
}

TEST_CASE("a closed queue takes nothing more and is drained when all is claimed") {
    SharedState state = make_state(1);
    Ring& ring = state.ring;
    push(ring, 0);
    CHECK_FALSE(ring.drained());
    CHECK(ring.close() == 1);
    Position position = 0;
    CHECK(ring.reserve(~0ULL, position) == Ring::Refusal::closed);
    CHECK_FALSE(ring.drained());
    ring.claim(0, state.slot(0).note);
    CHECK(ring.drained());
}

TEST_CASE("the repair after a death ends the task of the dead worker and no other") {
    SharedState state = make_state(2);
    Ring& ring = state.ring;
    push(ring, 0);
    push(ring, 1);
    ring.claim(0, state.slot(0).note);
    ring.claim(1, state.slot(1).note);
    std::uint8_t waiters = 0;
    REQUIRE(ring.repair(0, state.slot(0).note, 4711, -9, waiters) == &ring.record(0));
    CHECK(status_of(ring, 0).state == TaskState::died);
    CHECK(ring.record(0).result_offset == 4711);
    CHECK(status_of(ring, 1).state == TaskState::running);
    CHECK(ring.repair(0, state.slot(0).note, 4711, -9, waiters) == nullptr);
}

TEST_CASE("a result that was published before the death stays") {
    SharedState state = make_state(1);
    Ring& ring = state.ring;
    push(ring, 0);
    const auto claim = ring.claim(0, state.slot(0).note);
    std::uint8_t waiters = 0;
    REQUIRE(Ring::finish(*claim, TaskState::returned, waiters));
    CHECK(ring.repair(0, state.slot(0).note, 1, -9, waiters) == nullptr);
    CHECK(status_of(ring, 0).state == TaskState::returned);
}

TEST_CASE("whoever waits is named to the one who ends the task") {
    SharedState state = make_state(1);
    Ring& ring = state.ring;
    push(ring, 0);
    const auto claim = ring.claim(0, state.slot(0).note);
    CHECK(ring.watch(0, Status::watched).flags == Status::watched);
    std::uint8_t waiters = 0;
    REQUIRE(Ring::finish(*claim, TaskState::returned, waiters));
    CHECK(waiters == Status::watched);
    CHECK(ring.watch(0, Status::watched_with_others).flags == Status::watched);
}

TEST_CASE("cancel_all cancels what is queued and nothing else") {
    SharedState state = make_state(1);
    Ring& ring = state.ring;
    for (std::uint32_t index = 0; index < 4; ++index) push(ring, index);
    ring.claim(0, state.slot(0).note);
    int cancelled = 0;
    ring.cancel_all([&](const prong::ring::Record&, std::uint8_t) { ++cancelled; });
    CHECK(cancelled == 3);
    CHECK(status_of(ring, 0).state == TaskState::running);
    CHECK_FALSE(ring.claim(0, state.slot(0).note));
}

TEST_CASE("producers and workers pass every task on exactly once, across laps and wraps",
          "[threads]") {
    const bool at_wrap = GENERATE(false, true);
    constexpr unsigned producers = 3;
    constexpr unsigned workers = 3;
    constexpr std::uint32_t records_each = 64;
    const std::uint32_t rounds = prong::test::full_run() ? 20'000 : 400;
    SharedState state = make_state(workers, 1 << 10);
    Ring& ring = state.ring;
    ring.start_at(start_position(at_wrap));
    std::vector<std::atomic<std::uint32_t>> runs(producers * records_each);
    std::atomic<std::uint32_t> cancelled = 0;

    std::vector<std::thread> threads;
    for (unsigned worker = 0; worker < workers; ++worker) {
        threads.emplace_back([&, worker] {
            const auto owner = static_cast<std::uint16_t>(worker);
            while (!ring.drained()) {
                if (const auto claim = ring.claim(owner, state.slot(worker).note)) {
                    ++runs[claim->index];
                    std::uint8_t waiters = 0;
                    if (!Ring::finish(*claim, TaskState::returned, waiters)) std::abort();
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
                    while (ring.reserve(~0ULL, position) != Ring::Refusal::none) {
                        state.retire_entries();
                        std::this_thread::yield();
                    }
                    const std::uint32_t index = producer * records_each + i;
                    ring.publish(position, index);
                    generations[i] = prong::ring::generation_of(position);
                    if (random() % 8 == 0 &&
                        ring.cancel(index, generations[i]).state == TaskState::cancelled) {
                        ++cancelled;
                    }
                }
                for (std::uint32_t i = 0; i < records_each; ++i) {
                    while (!is_final(status_of(ring, producer * records_each + i).state)) {
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
