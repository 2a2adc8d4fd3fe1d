// A worker that overwrites one word of shared memory, once or again and again, while the parent
// uses the pool: for each word, the parent neither crashes nor hangs. See also hostile_test.cpp.

#include "executor/corruption.hpp"
#include "executor/thread_pool.hpp"
#include "support/catch.hpp"

#include <prong/this_task.hpp>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace prong::test;
using prong::executor::SharedState;
using prong::executor::StartState;
using prong::executor::TaskSettings;
using prong::executor::WorkerSlot;
using prong::proc::StopMode;
using prong::ring::Record;
using prong::ring::Status;
using prong::ring::TaskState;

namespace {

/// What an attack aims at, as the attacking worker finds it.
struct Scene {
    SharedState& state;
    unsigned self;      ///< the attacker's number
    Record& running;    ///< of a task that the other worker runs
    Record& queued;     ///< of one that waits
    Record& returned;   ///< of one that has ended, and whose result has not been taken
    std::uint64_t step; ///< counts the attacker's rounds
};

struct Attack {
    std::string name;
    void (*strike)(const Scene& scene);
};

constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();

template <typename Change>
void change_status(Record& record, Change change) {
    Status status = Status::unpack(record.status.load());
    change(status);
    record.status.store(status.pack());
}

Record& record_in(const SharedState& state, TaskState wanted, unsigned not_of) {
    for (Record& record : state.records) {
        const Status status = Status::unpack(record.status.load());
        const bool is_mine = prong::ring::is_claimed(status.state) && status.owner == not_of;
        if (status.state == wanted && !is_mine) return record;
    }
    return state.records.back();
}

template <typename T>
std::uint64_t offset_in(const SharedState& state, const T& object) {
    return static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&object) -
                                      state.region.base());
}

std::atomic<std::uint64_t>& word_at(const SharedState& state, std::uint64_t offset) {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(state.region.base() + offset);
}

void set_result(const Scene& scene, std::uint64_t end) {
    for (Record* const record : {&scene.returned, &scene.queued, &scene.running}) {
        record->result_end = end;
        change_status(*record, [](Status& status) { status.state = TaskState::returned; });
    }
}

std::uint64_t payload_begin(const SharedState& state) {
    return map_of(state).payload;
}

/// The words of the payload's lists of free blocks: the total, then a top and a first fresh block
/// for each size.
template <typename Change>
void change_lists(const SharedState& state, Change change) {
    for (std::uint64_t i = 0; i < 15; ++i) {
        const std::uint64_t head = payload_begin(state) + 64 + 64 * i;
        change(word_at(state, head), word_at(state, head + 8));
    }
}

/// Every word in the table of the blocks of 256 bytes, and of the next larger ones.
template <typename Change>
void change_blocks(const SharedState& state, Change change) {
    const std::uint64_t table = payload_begin(state) + 64 + 64 * 15;
    for (std::uint64_t i = 0; i < 1 << 15; ++i) change(word_at(state, table + 8 * i), i);
}

std::vector<Attack> attacks() {
    std::vector<Attack> all{
        {"the head far ahead",
         [](const Scene& s) { s.state.control().lanes.cursors[0].head.store(1 << 20); }},
        {"the head as far as it goes",
         [](const Scene& s) { s.state.control().lanes.cursors[0].head.store(huge); }},
        {"the head just beyond the tail",
         [](const Scene& s) {
             auto& head = s.state.control().lanes.cursors[0].head;
             head.store(s.state.lanes[prong::ring::Lane::normal].tail() + 5 + head.load() % 7);
         }},
        {"the heads of unused lanes",
         [](const Scene& s) {
             s.state.control().lanes.cursors[1].head.store(3);
             s.state.control().lanes.cursors[2].head.store(huge / 2);
         }},
        {"the head at the beginning",
         [](const Scene& s) { s.state.control().lanes.cursors[0].head.store(0); }},
        {"the end before its time",
         [](const Scene& s) { s.state.control().lanes.cursors[0].final_tail.store(1); }},
        {"an end that never comes",
         [](const Scene& s) {
             for (auto& cursor : s.state.control().lanes.cursors) cursor.final_tail.store(huge);
         }},
        {"no end",
         [](const Scene& s) {
             for (auto& cursor : s.state.control().lanes.cursors) cursor.final_tail.store(0);
         }},
        {"waiting for room",
         [](const Scene& s) {
             s.state.control().lanes.room.waiting.store(~0U);
             s.state.control().lanes.room.made.store(~0U);
         }},
        {"lanes denied", [](const Scene& s) { s.state.control().lanes.several.store(false); }},
        {"lanes announced", [](const Scene& s) { s.state.control().lanes.several.store(true); }},
        {"parked, all of them",
         [](const Scene& s) {
             std::memset(static_cast<void*>(&s.state.control().notifier.parked), 0xff, 128);
         }},
        {"parked, none",
         [](const Scene& s) {
             std::memset(static_cast<void*>(&s.state.control().notifier.parked), 0, 128);
         }},
        {"searching, all of them",
         [](const Scene& s) {
             std::memset(static_cast<void*>(&s.state.control().notifier.searching), 0xff, 128);
         }},
        {"completions",
         [](const Scene& s) {
             s.state.control().completions.store(static_cast<std::uint32_t>(s.step));
             s.state.control().waiting_for_completions.store(0);
         }},
        {"the alarm in the past", [](const Scene& s) { s.state.control().next_alarm_ns.store(1); }},
        {"the alarm never",
         [](const Scene& s) { s.state.control().next_alarm_ns.store(prong::executor::no_alarm); }},
        {"the counts",
         [](const Scene& s) {
             s.state.control().retried.store(huge);
             s.state.control().died.store(huge);
             s.state.control().killed.store(huge);
             s.state.control().starts.store(~0U);
         }},
        {"broken, with a cause too long",
         [](const Scene& s) {
             std::memset(static_cast<void*>(&s.state.control().cause), 0xff,
                         sizeof(s.state.control().cause));
             s.state.control().broken.store(true);
         }},
        {"a record with another's task",
         [](const Scene& s) {
             s.running.task_type = s.queued.task_type;
             s.running.arguments_end = s.queued.arguments_end + 1;
         }},
        {"a task type that is none",
         [](const Scene& s) { s.queued.task_type = s.running.task_type = 0x1000; }},
        {"arguments far away",
         [](const Scene& s) { s.queued.arguments_end = s.running.arguments_end = huge; }},
        {"results that lie about their sizes",
         [](const Scene& s) {
             for (Record* const record : {&s.returned, &s.running}) {
                 const std::uint64_t words[] = {std::uint64_t{1} << 63, huge, 1, huge / 8};
                 std::memcpy(record->bytes, words, sizeof(words));
                 record->result_end = sizeof(Record);
                 change_status(*record, [&](Status& status) {
                     status.state = static_cast<TaskState>(4 + s.step % 6);
                 });
             }
         }},
        {"a queued task that is queued nowhere",
         [](const Scene& s) {
             for (Record* const record : {&s.returned, &s.running})
                 change_status(*record, [](Status& status) { status.state = TaskState::queued; });
         }},
        {"a running task without a worker",
         [](const Scene& s) {
             for (Record* const record : {&s.returned, &s.queued}) {
                 change_status(*record, [&](Status& status) {
                     status.state = TaskState::running;
                     status.owner = static_cast<std::uint16_t>(s.step % 3);
                 });
             }
         }},
        {"owners that do not exist",
         [](const Scene& s) {
             change_status(s.running, [](Status& status) { status.owner = 0xffff; });
         }},
        {"condemned, all of them",
         [](const Scene& s) {
             for (Record* const record : {&s.returned, &s.queued, &s.running})
                 change_status(*record,
                               [](Status& status) { status.state = TaskState::condemned; });
         }},
        {"asked to stop",
         [](const Scene& s) {
             for (Record* const record : {&s.returned, &s.queued, &s.running})
                 change_status(*record, [](Status& status) { status.flags = 0xff; });
         }},
        {"other generations",
         [](const Scene& s) {
             for (Record* const record : {&s.returned, &s.queued, &s.running})
                 change_status(*record, [](Status& status) { ++status.generation; });
         }},
        {"queued with another generation",
         [](const Scene& s) {
             for (Record* const record : {&s.returned, &s.queued, &s.running}) {
                 change_status(*record, [](Status& status) {
                     status.state = TaskState::queued;
                     status.generation += 1000;
                 });
             }
         }},
        {"the notes of others",
         [](const Scene& s) {
             for (unsigned worker = 0; worker < s.state.workers(); ++worker) {
                 s.state.slot(worker).intent.record.store(
                     s.step % 2 == 0 ? huge : offset_in(s.state, s.queued) % 128);
                 s.state.slot(worker).intent.block.store(payload_begin(s.state) + 12345);
                 s.state.slot(worker).intent.outgrown_block.store(huge);
             }
         }},
        {"retries of tasks that are no such",
         [](const Scene& s) {
             for (unsigned worker = 0; worker < s.state.workers(); ++worker) {
                 const Status status = Status::unpack(s.queued.status.load());
                 const auto index = static_cast<std::uint64_t>(&s.queued - s.state.records.data());
                 s.state.slot(worker).intent.retry.store(
                     s.step % 2 == 0 ? huge : std::uint64_t{status.generation} << 32 | (index + 1));
             }
         }},
        {"the workers' places",
         [](const Scene& s) {
             for (unsigned worker = 0; worker < s.state.workers(); ++worker) {
                 const auto value = s.step % 2 == 0 ? std::numeric_limits<std::int64_t>::min()
                                                    : std::numeric_limits<std::int64_t>::max();
                 WorkerSlot& slot = s.state.slot(worker);
                 slot.since_ns.store(value);
                 slot.stop_at_ns.store(value);
                 slot.cpu_ns_at_start.store(value);
                 slot.resident_at_start.store(huge);
                 slot.finished.store(huge);
                 slot.failed.store(huge);
                 slot.deaths.store(huge);
                 slot.stopped.store(s.step % 3 == 0);
                 slot.start.store(static_cast<StartState>(s.step % 4));
                 slot.leaving.store(s.step % 3 == 2);
                 slot.crash.signal.store(std::numeric_limits<int>::min());
                 slot.crash.frames.fill(huge);
                 std::memset(static_cast<void*>(&slot.failure), 0xff, sizeof(slot.failure));
             }
         }},
        {"settings of all tasks",
         [](const Scene& s) {
             for (std::uint32_t i = 0; i < 64; ++i) {
                 std::memset(static_cast<void*>(&s.state.settings(i)),
                             s.step % 2 == 0 ? 0xff : 0x7f, sizeof(TaskSettings));
             }
         }},
        {"retries without end",
         [](const Scene& s) {
             for (std::uint32_t i = 0; i < 64; ++i) {
                 s.state.settings(i).max_retries = ~0U;
                 s.state.settings(i).deaths.store(0);
             }
         }},
        {"free lists that begin outside",
         [](const Scene& s) {
             change_lists(s.state, [](auto& top, auto& fresh) {
                 top.store(0xffffffff);
                 fresh.store(huge);
             });
         }},
        {"free lists that begin anywhere",
         [](const Scene& s) {
             change_lists(s.state, [&](auto& top, auto& fresh) {
                 top.store(1 + s.step % 3);
                 fresh.store(s.step % 3);
             });
         }},
        {"a total that cannot be",
         [](const Scene& s) {
             word_at(s.state, payload_begin(s.state)).store(huge / 2 - s.step % 2);
         }},
        {"free lists in circles",
         [](const Scene& s) {
             change_blocks(s.state,
                           [](auto& word, std::uint64_t i) { word.store(2 | (i + 1) << 2); });
             change_lists(s.state, [](auto& top, auto&) { top.store(1); });
         }},
        {"free lists that lead outside",
         [](const Scene& s) {
             change_blocks(s.state, [](auto& word, std::uint64_t) { word.store(huge - 1); });
             change_lists(s.state, [](auto& top, auto&) { top.store(1); });
         }},
        {"blocks without an owner",
         [](const Scene& s) {
             change_blocks(s.state, [](auto& word, std::uint64_t) { word.store(huge); });
         }},
    };
    return all;
}

std::vector<std::uint64_t> numbers_up_to(std::uint64_t last) {
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t i = 0; i <= last; ++i) numbers.push_back(i);
    return numbers;
}

enum class How { once, again_and_again };

/// What the attacking worker and the parent say to each other.
struct Stage {
    Gate gate;         ///< the other worker's task stands before it
    Counter struck{0}; ///< the attack has been made
    Counter over{0};   ///< no more of it
};

/// Makes a pool, has one of two workers attack while the other runs a task and others wait or have
/// results, does all that a parent does, and ends the pool.
template <typename Strike>
void withstand(const std::string& name, How how, Strike strike) {
    INFO(name << (how == How::once ? ", once" : ", again and again"));
    Random random(7);
    const Shared<Stage> stage;
    std::vector<Pending> pending;
    {
        BarePool pool(2);
        pool.start_processes();
        std::vector<Future<std::string>> results;
        for (int i = 0; i < 4; ++i)
            results.push_back(pool.submit(echo, std::string(i % 2 == 0 ? 10 : 1000, 'r')));
        for (auto& future : results) future.wait();
        const auto held = with_captures([place = stage.get()] {
            place->gate.pass();
            return 1;
        });
        pending.emplace_back(pool.with({.timeout = 60s, .max_retries = 2}).submit(held));
        REQUIRE(stage->gate.await_arrivals(1));
        const auto attack = with_captures([place = stage.get(), strike, core = &pool.core(),
                                           how]() mutable {
            SharedState& state = core->state();
            const auto self = static_cast<unsigned>(prong::this_worker::index());
            while (place->over.load() == 0) { // until there is something that waits
                if (&record_in(state, TaskState::queued, self) != &state.records.back()) break;
                std::this_thread::sleep_for(1ms);
            }
            Scene scene{.state = state,
                        .self = self,
                        .running = record_in(state, TaskState::running, self),
                        .queued = record_in(state, TaskState::queued, self),
                        .returned = record_in(state, TaskState::returned, self),
                        .step = 0};
            do {
                strike(scene);
                ++scene.step;
                place->struck.store(1);
                if (how == How::again_and_again)
                    std::this_thread::sleep_for(std::chrono::microseconds(20));
            } while (how == How::again_and_again && place->over.load() == 0 && scene.step < 3000);
        });
        pending.emplace_back(pool.submit(attack));
        for (int i = 0; i < 12; ++i) submit_something(pool, pending, random);
        REQUIRE(eventually([&] { return stage->struck.load() != 0; }));
        static_cast<void>(pool.core().stats());
        for (int i = 0; i < 8; ++i) submit_something(pool, pending, random);
        for (auto& future : results) pending.emplace_back(std::move(future));
        for (int i = 0; i < 20; ++i) pending[random() % pending.size()].disturb(random);
        stage->gate.open();
        if (random() % 2 == 0) pool.core().shutdown(false, false);
        std::this_thread::sleep_for(how == How::once ? 0ms : 20ms); // while it strikes
        stage->over.store(1);
        CHECK(all_end(pending));
    }
    CHECK(another_pool_works());
}

} // namespace

TEST_CASE("no word of shared memory that is written over stops or crashes the parent") {
    for (const Attack& attack : attacks()) {
        for (const How how : {How::once, How::again_and_again})
            withstand(attack.name, how, attack.strike);
    }
    print_tally("attacks");
}

TEST_CASE("a parent that checks nothing but the task's word would wait for ever") {
    ThreadPool pool(1); // has no supervisor, so the memory is not checked
    pool.start_all();
    Future<int> future = pool.submit(square, 3);
    future.wait();
    Record& record = record_in(pool.state(), TaskState::returned, 1);
    change_status(record, [](Status& status) { status.state = TaskState::running; });
    CHECK_FALSE(future.wait_for(300ms));
    change_status(record, [](Status& status) { status.state = TaskState::returned; });
    CHECK(future.get() == 9);
}

TEST_CASE("a stop mode that a worker has written is none") {
    for (const std::uint64_t mode : {0U, 1U, 2U, 3U, 4U, 77U, ~0U}) {
        for (const How how : {How::once, How::again_and_again}) {
            withstand("mode " + std::to_string(mode), how, [mode](const Scene& s) {
                s.state.control().stop_mode.store(static_cast<StopMode>(mode));
            });
        }
    }
}

TEST_CASE("a task whose state was overwritten comes to an end in every state") {
    auto states = numbers_up_to(static_cast<std::uint64_t>(TaskState::lost) + 1);
    states.push_back(0xff);
    for (const std::uint64_t state : states) {
        withstand("state " + std::to_string(state), How::once, [state](const Scene& s) {
            for (Record* const record : {&s.returned, &s.queued, &s.running}) {
                change_status(*record, [state](Status& status) {
                    status.state = static_cast<TaskState>(state);
                });
            }
        });
    }
}

TEST_CASE("a result that lies outside of the pool's memory, or half, is not read") {
    const std::uint64_t inside = sizeof(Record);
    const std::uint64_t borders[][2] = {
        {0, 8},
        {47, 1},
        {48, 81},
        {48, 80},
        {127, 1},
        {127, 2},
        {inside, 0},
        {inside, 1},
        {inside + 1, 8},
        {huge, 0},
        {huge, 1},
        {huge - 7, 8},
        {32, huge},
        {32, huge - 31},
        {1 << 20, 1},
        {1 << 30, 64},
        {huge / 2, huge / 2},
    };
    for (const auto& border : borders) {
        const std::uint64_t offset = border[0];
        const std::uint64_t length = border[1];
        withstand("result at " + std::to_string(offset) + " of " + std::to_string(length) +
                      " bytes",
                  How::once, [=](const Scene& s) { set_result(s, offset + length); });
    }
    // Blocks: their first, a byte too many, their last, between two, the end of all.
    for (const std::int64_t shift : {0, 1, -1, 255, 256, 257}) {
        for (const std::uint64_t length : {std::uint64_t{256}, std::uint64_t{257}, huge}) {
            withstand("block at " + std::to_string(shift), How::once, [=](const Scene& s) {
                const std::uint64_t end = s.state.region.size();
                const std::uint64_t first = end - 15 * (std::uint64_t{1} << 22);
                const auto moved = static_cast<std::uint64_t>(shift);
                set_result(s, (s.step % 2 == 0 ? first : end) + moved + length);
            });
        }
    }
}

TEST_CASE("entries of the queue that name nothing, or others, lead nowhere") {
    const std::pair<const char*, std::uint64_t (*)(std::uint64_t)> changes[] = {
        {"index out of range", [](std::uint64_t word) { return word | 0xffffffff; }},
        {"index of another", [](std::uint64_t word) { return word ^ 1; }},
        {"never written", [](std::uint64_t) { return std::uint64_t{0}; }},
        {"another lap", [](std::uint64_t word) { return word + (std::uint64_t{1} << 33); }},
        {"all ones", [](std::uint64_t) { return huge; }},
    };
    for (const auto& [name, change] : changes) {
        withstand(std::string("entries: ") + name, How::once, [change = change](const Scene& s) {
            const std::uint64_t entries =
                offset_in(s.state, s.state.records[0]) - 3 * 8 * (std::uint64_t{1} << 12);
            for (std::uint64_t i = 0; i < 64; ++i) {
                auto& word = word_at(s.state, entries + 8 * i);
                if (word.load() != 0) word.store(change(word.load()));
            }
        });
    }
}
