// Kills or overtakes a process at each instruction of a change of a Value.

#include "proc/helpers.hpp"
#include "shm/family_memory.hpp"
#include "steps/tracee.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "sync/cell.hpp"

#include <prong/value.hpp>

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>

using namespace prong::test;
using prong::Value;
using prong::detail::HandleAccess;

namespace {

/// A value in which a change that is not whole is seen.
template <std::size_t Words>
struct Repeated {
    std::array<std::uint64_t, Words> words;

    explicit Repeated(std::uint64_t number = 0) { words.fill(number); }
    [[nodiscard]] std::uint64_t number() const { return words.front(); }
    [[nodiscard]] bool is_whole() const {
        return std::ranges::all_of(words, [&](std::uint64_t word) { return word == number(); });
    }
};

} // namespace

template <std::size_t Words>
inline constexpr bool prong::is_bitwise_transferable<Repeated<Words>> = true;

namespace {

template <typename T>
void increment(const Value<T>& value) {
    value.update([](const T& before) { return T(before.number() + 1); });
}

/// Where the steps begin and end.
[[gnu::noinline]] void begin_of_change() {
    asm volatile("" ::: "memory");
}
[[gnu::noinline]] void end_of_change() {
    asm volatile("" : : "r"(1) : "memory");
}

/// Starts a process that changes something, and has it execute so many instructions of that.
/// Returns an empty tracee if there are not so many.
Tracee run(const std::function<void()>& change, int steps) {
    const Channel ready;
    const Channel go_on;
    const pid_t pid = fork();
    if (pid == 0) {
        change(); // it joins the family
        ready.put('r');
        (void)go_on.get<char>();
        begin_of_change();
        change();
        end_of_change();
        sleep_for_ever();
    }
    (void)ready.get<char>();
    Tracee tracee(pid);
    tracee.interrupt();
    go_on.put('g');
    tracee.set_out({address_of(begin_of_change)});
    tracee.arrive();
    for (int i = 0; i < steps; ++i) {
        if (tracee.address() == address_of(end_of_change)) {
            tracee.kill();
            return {};
        }
        tracee.step();
    }
    return tracee;
}

/// Ends with its process, also if a check fails.
struct Killed {
    Tracee tracee;
    ~Killed() {
        if (!tracee.is_empty()) tracee.kill();
    }
};

/// Tries all numbers of steps, or some of them unless the run is a full one.
void for_each_step(const std::function<void()>& change,
                   const std::function<void(Tracee&)>& try_it) {
    const int stride = full_run() ? 1 : 11;
    int steps = static_cast<int>(test_seed() % static_cast<unsigned>(stride));
    for (;; steps += stride) {
        Killed process{run(change, steps)};
        if (process.tracee.is_empty()) break;
        INFO("after " << steps << " instructions");
        try_it(process.tracee);
    }
    CHECK(steps > 20);
}

/// The words of the lock of a value.
template <typename T>
prong::sync::LockWords& lock_of(const Value<T>& value) {
    const prong::detail::ObjectId id = HandleAccess::parts(value.get_lock());
    auto* const place = prong::shm::FamilyMemory::find()->at(id.offset);
    return reinterpret_cast<prong::sync::Cell*>(place)->lock;
}

} // namespace

TEMPLATE_TEST_CASE("a process that is killed at any instruction leaves the old value or the new",
                   "", Repeated<1>, Repeated<5>) {
    if (*cannot_trace() != '\0') return;
    const Value<TestType> value;
    std::function<void()> change;
    SECTION("update") {
        change = [&] { increment(value); };
    }
    SECTION("set") {
        change = [&] { value.set(TestType(value.get().number() + 1)); };
    }
    for_each_step(change, [&](Tracee& tracee) {
        const std::uint64_t before = value.get().number();
        tracee.kill();
        const TestType seen = value.get();
        REQUIRE(seen.is_whole());
        REQUIRE(seen.number() == before);
        increment(value);
        REQUIRE(value.get().is_whole());
        REQUIRE(value.get().number() == before + 1);
    });
}

TEST_CASE("a thread that still changes a value when others hold the lock already spoils nothing") {
    if (*cannot_trace() != '\0') return;
    const Value<Repeated<5>> value;
    prong::sync::LockWords& lock = lock_of(value);
    constexpr std::uint64_t changes = 3;
    for_each_step([&] { increment(value); },
                  [&](Tracee& tracee) {
                      // As if the process was found dead. If its copy was used again, it would be
                      // the value now.
                      const std::uint64_t holder = lock.holder.exchange(0);
                      const std::uint32_t depth = lock.depth.load();
                      const std::uint64_t before = value.get().number();
                      for (std::uint64_t i = 1; i <= changes; ++i) {
                          increment(value);
                          REQUIRE(value.get().is_whole());
                          REQUIRE(value.get().number() == before + i);
                      }
                      lock.depth.store(depth);
                      lock.holder.store(holder);
                      tracee.set_out({address_of(end_of_change)});
                      tracee.arrive();
                      REQUIRE(value.get().is_whole());
                      REQUIRE(value.get().number() >= before + changes);
                      REQUIRE(value.get().number() <= before + changes + 1);
                      tracee.kill();
                  });
}
