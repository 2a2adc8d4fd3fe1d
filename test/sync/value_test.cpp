#include <prong/value.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::ObjectGone;
using prong::Process;
using prong::RLock;
using prong::Value;

namespace {

enum class Colour : unsigned char { red, green = 7 };

struct Padded {
    char letter;
    int number;
    friend bool operator==(const Padded&, const Padded&) = default;
};

struct Three {
    std::array<unsigned char, 3> bytes;
    friend bool operator==(const Three&, const Three&) = default;
};

struct Point {
    double x;
    double y;
    char name;
    friend bool operator==(const Point&, const Point&) = default;
};

/// A value in which a change that is not whole is seen.
template <std::size_t Words>
struct Repeated {
    std::array<std::uint64_t, Words> words;

    [[nodiscard]] std::uint64_t number() const { return words.front(); }
    [[nodiscard]] bool is_whole() const {
        return std::ranges::all_of(words, [&](std::uint64_t word) { return word == number(); });
    }
    void increment() {
        for (std::uint64_t& word : words) ++word;
    }
};
using Small = Repeated<1>;
using Medium = Repeated<5>;
using Large = Repeated<8192>;

template <typename T>
void set_in_child(const T& before, const T& after) {
    const Value<T> value(before);
    CHECK(value.get() == before);
    CHECK(exitcode_of([&] {
              if (value.get() != before) throw std::runtime_error("is not what it was");
              value.set(after);
          }) == 0);
    CHECK(value.get() == after);
}

} // namespace

TEST_CASE("a value that a process sets is seen by the others") {
    set_in_child(1, -7);
    set_in_child(1.5, 2.25);
    set_in_child(false, true);
    set_in_child('a', 'b');
    set_in_child(Colour::red, Colour::green);
    set_in_child(std::int64_t{1} << 40, std::int64_t{-1});
    set_in_child(Padded{'a', 1}, Padded{'b', 2});
    set_in_child(Three{{1, 2, 3}}, Three{{4, 5, 6}});
    set_in_child(Point{1, 2, 'p'}, Point{3, 4, 'q'});
    set_in_child(std::optional<int>(), std::optional<int>(5));
    set_in_child(std::array<int, 100>{1}, std::array<int, 100>{2, 3});
}

TEST_CASE("a value without an initial one is zero, or what its type says") {
    struct Seven {
        int number = 7;
    };
    for (int i = 0; i < 3; ++i) { // also in memory that was used before
        const Value<long double> number;
        CHECK(number.get() == 0);
        number.set(1);
        CHECK(Value<int>().get() == 0);
        CHECK(Value<Point>().get() == Point{});
        CHECK(Value<Seven>().get().number == 7);
    }
}

TEST_CASE("update returns the new value, by a function of either kind") {
    const Value<int> value(1);
    CHECK(value.update([](int n) { return n + 1; }) == 2);
    CHECK(value.update([](const int& n) { return n * 10L; }) == 20);
    CHECK(value.update([](int& n) { ++n; }) == 21);
    CHECK(value.update([](int& n) { return ++n > 5; }) == 22);
    CHECK(value.update([](auto n) { return n + 1; }) == 23);
    CHECK(value.update([](auto& n) { return n++; }) == 24);
    CHECK(value.get() == 24);
    const Value<Point> point;
    CHECK(point.update([](Point& p) { p.y = 3; }) == Point{0, 3, 0});
    CHECK(point.get() == Point{0, 3, 0});
}

TEMPLATE_TEST_CASE("no update is lost, by threads, processes and holders of the lock", "", Small,
                   Medium) {
    const auto rounds = static_cast<std::uint64_t>(how_often(2000, 100000));
    const Value<TestType> value;
    const auto update = [&] {
        for (std::uint64_t i = 0; i < rounds; ++i) value.update([](TestType& v) { v.increment(); });
    };
    const auto get_and_set = [&] {
        for (std::uint64_t i = 0; i < rounds; ++i) {
            const std::scoped_lock guard(value.get_lock());
            TestType copy = value.get();
            copy.increment();
            value.set(copy);
        }
    };
    std::vector<Process> processes;
    for (int i = 0; i < 2; ++i) {
        processes.emplace_back([&] {
            std::thread other(get_and_set);
            update();
            other.join();
        });
    }
    for (Process& process : processes) process.start();
    update();
    for (Process& process : processes) process.join();
    CHECK(value.get().is_whole());
    CHECK(value.get().number() == 5 * rounds);
}

TEMPLATE_TEST_CASE("a value is never seen half changed", "", Medium, Large) {
    const Value<TestType> value;
    std::vector<std::unique_ptr<Process>> writers;
    for (int i = 0; i < 2; ++i) {
        writers.push_back(std::make_unique<Process>([&] {
            for (TestType next{};;) {
                next.increment();
                value.set(next);
            }
        }));
        writers.back()->start();
    }
    while (value.get().number() == 0) std::this_thread::yield();
    for (int i = how_often(2000, 100000); i != 0; --i) REQUIRE(value.get().is_whole());
    for (const auto& writer : writers) writer->kill();
}

TEMPLATE_TEST_CASE("after a death at any moment the value is whole, and changes go on", "", Small,
                   Medium, Large) {
    std::mt19937_64 random(test_seed());
    const Value<TestType> value;
    const Shared<std::atomic<std::uint64_t>> done;
    std::uint64_t deaths = 0;
    for (int i = how_often(150, 5000); i != 0; --i) {
        // Two threads: one of them may still run when the other one's end is seen.
        Process victim([&] {
            const auto update = [&] {
                for (;;) {
                    value.update([](TestType& v) { v.increment(); });
                    done->fetch_add(1);
                }
            };
            std::thread other(update);
            update();
        });
        const std::uint64_t before = *done;
        victim.start();
        while (*done == before) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
        victim.kill();
        // It may still run now.
        REQUIRE(value.get().is_whole());
        REQUIRE(value.update([](TestType& v) { v.increment(); }).is_whole());
        done->fetch_add(1);
        victim.join();
        ++deaths;
        // Each thread of the dead may have made one change that it has not counted.
        const std::uint64_t number = value.get().number();
        REQUIRE(number >= *done);
        REQUIRE(number <= *done + 2 * deaths);
    }
}

TEST_CASE("a process that is killed in its function leaves the old value") {
    const Value<Point> value(Point{1, 2, 'a'});
    const Channel channel;
    Process process([&] {
        value.update([&](Point& point) {
            point.x = 7;
            report_and_sleep(channel);
        });
    });
    process.start();
    (void)channel.get<char>();
    CHECK(value.get() == Point{1, 2, 'a'}); // does not wait for the lock
    process.kill();
    CHECK(value.update([](Point& point) { point.y = 3; }) == Point{1, 3, 'a'});
    CHECK(value.get_lock().abandoned());
    process.join();
}

TEMPLATE_TEST_CASE("get does not wait for a process that is stopped", "", Small, Medium) {
    const Value<TestType> value;
    const Sleeper writer([&] {
        std::thread([&] {
            for (;;) value.update([](TestType& v) { v.increment(); });
        }).detach();
    });
    while (value.get().number() == 0) std::this_thread::yield();
    for (int i = how_often(50, 2000); i != 0; --i) {
        kill(writer.pid(), SIGSTOP);
        for (int k = 0; k < 10; ++k) REQUIRE(value.get().is_whole());
        kill(writer.pid(), SIGCONT);
        std::this_thread::yield();
    }
}

TEST_CASE("an exception in the function of update changes nothing") {
    const Value<Point> value(Point{1, 2, 'a'});
    const auto fail = [](Point& point) {
        point.x = 5;
        throw std::range_error("no");
    };
    CHECK_THROWS_AS(value.update(fail), std::range_error);
    CHECK(value.get() == Point{1, 2, 'a'});
    CHECK(exitcode_of([&] { std::exit(value.get_lock().try_lock() ? 0 : 1); }) == 0);
}

TEST_CASE("the lock of a value is an RLock that update takes") {
    const Value<int> value(5);
    RLock& lock = value.get_lock();
    const std::scoped_lock guard(lock, value.get_lock());
    CHECK(value.update([](int n) { return n + 1; }) == 6);
    CHECK(value.get_lock() == lock);
    CHECK(exitcode_of([&] { std::exit(value.get_lock().try_lock() ? 1 : 0); }) == 0);
    CHECK(exitcode_of([&] { std::exit(value.get()); }) == 6);
}

TEST_CASE("values pass to tasks, from tasks and through pipes") {
    prong::ProcessPoolExecutor pool(2);
    pool.submit([] {}).get(); // the workers are older than the values
    const Value<int> sum(0);
    std::vector<prong::Future<void>> futures;
    for (int i = 1; i <= 10; ++i)
        futures.push_back(pool.submit(
            [](const Value<int>& v, int n) { v.update([&](int m) { return m + n; }); }, sum, i));
    for (auto& future : futures) future.get();
    CHECK(sum.get() == 55);
    CHECK(pool.submit([](Value<int> v) { return v; }, sum).get() == sum);

    auto [ours, theirs] = prong::Pipe();
    const Value<Point> point;
    ours.send(point);
    CHECK(theirs.recv<Value<Point>>() == point);
    ours.send(point);
    CHECK_THROWS_AS(theirs.recv<Value<int>>(), prong::CodecError);
}

TEST_CASE("a copy of a value that has ended says so") {
    std::optional<Value<int>> small(1);
    std::optional<Value<Point>> large(Point{});
    const Value<int> small_copy = *small;
    const Value<Point> large_copy = *large;
    small.reset();
    large.reset();
    CHECK_THROWS_AS(small_copy.get(), ObjectGone);
    CHECK_THROWS_AS(small_copy.set(1), ObjectGone);
    CHECK_THROWS_AS(small_copy.update([](int n) { return n; }), ObjectGone);
    CHECK_THROWS_AS(small_copy.get_lock().lock(), ObjectGone);
    CHECK_THROWS_AS(large_copy.get(), ObjectGone);
    CHECK_THROWS_AS(large_copy.set(Point{}), ObjectGone);
    CHECK_THROWS_AS(large_copy.update([](Point&) {}), ObjectGone);
}
