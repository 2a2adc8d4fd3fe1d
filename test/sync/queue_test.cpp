#include <prong/queue.hpp>

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "sync/family.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::EndOfFile;
using prong::JoinableQueue;
using prong::Process;
using prong::Queue;
using prong::QueueClosed;
using prong::SimpleQueue;

namespace {

struct Message {
    int producer = 0;
    int number = 0;
    std::string text;
};

/// A value that ends its process when it is decoded there.
struct Deadly {
    int level = 0;

    template <class Archive>
    void save(Archive& archive) const {
        archive(level);
    }
    template <class Archive>
    void load(Archive& archive) {
        archive(level);
        if (prong::current_process().name() == "victim") _exit(3);
    }
};

/// A value that cannot be decoded.
struct Unreadable {
    int level = 0;

    template <class Archive>
    void save(Archive& archive) const {
        archive(level);
    }
    template <class Archive>
    void load(Archive& archive) {
        archive(level);
        throw std::runtime_error("unreadable");
    }
};

/// A value of which one half is decoded when the test says so.
struct Halved {
    static inline std::atomic<bool> is_begun{false};
    static inline std::atomic<bool> may_end{false};
    std::string name;
    std::string text;

    template <class Archive>
    void save(Archive& archive) const {
        archive(name, text);
    }
    template <class Archive>
    void load(Archive& archive) {
        archive(name);
        if (name == "slow") {
            is_begun = true;
            is_begun.notify_one();
            may_end.wait(false);
        }
        archive(text);
    }
};

int take(const Queue<int>& queue) {
    return queue.get();
}

} // namespace

TEST_CASE("a queue returns what was put, in order") {
    const Queue<int> queue;
    CHECK(queue.empty());
    CHECK_FALSE(queue.full());
    for (int i = 0; i < 10; ++i) queue.put(i);
    CHECK(queue.size() == 10);
    for (int i = 0; i < 10; ++i) CHECK(queue.get() == i);
    CHECK(queue.empty());
    CHECK_FALSE(queue.try_get());
    CHECK_FALSE(queue.get_for(2ms));
    queue.put(7);
    CHECK(queue.get_for(patience) == 7);
}

TEST_CASE("a queue carries values of every kind and size") {
    const Queue<std::map<std::string, std::vector<double>>> maps;
    const std::map<std::string, std::vector<double>> map{{"a", {1, 2}}, {"b", {}}};
    maps.put(map);
    CHECK(maps.get() == map);
    const Queue<std::unique_ptr<int>> pointers;
    pointers.put(std::make_unique<int>(4));
    CHECK(*pointers.get() == 4);
    const Queue<std::string> texts(3);
    for (const int size : {0, 1, 200, 255, 256, 4096, 1 << 20, 40 << 20}) {
        const std::string text(static_cast<std::size_t>(size), 'x');
        texts.put(text);
        CHECK(texts.get() == text);
    }
}

TEST_CASE("a bounded queue holds as many items as it may") {
    const Queue<int> queue(3);
    for (int i = 0; i < 3; ++i) CHECK(queue.try_put(i));
    CHECK(queue.full());
    CHECK_FALSE(queue.try_put(3));
    CHECK_FALSE(queue.put_for(2ms, 3));
    CHECK(queue.size() == 3);
    Process producer([&] { queue.put(3); });
    producer.start();
    CHECK(queue.get() == 0);
    CHECK(producer.join_for(patience));
    CHECK(queue.full());
    for (int i = 1; i <= 3; ++i) CHECK(queue.get() == i);
    CHECK_THROWS_AS(Queue<int>(-1), std::invalid_argument);
    CHECK_THROWS_AS(Queue<int>(1 << 20), std::invalid_argument);
}

TEST_CASE("a queue goes round its ring many times") {
    const Queue<int> queue(2);
    for (int i = 0; i < 20000; ++i) {
        REQUIRE(queue.try_put(i));
        REQUIRE(queue.try_put(-i));
        REQUIRE_FALSE(queue.try_put(0));
        REQUIRE(queue.get() == i);
        REQUIRE(queue.get() == -i);
    }
    CHECK(queue.empty());
}

TEST_CASE("an unbounded queue holds a million items") {
    const int many = how_often(20000, 1 << 20);
    const Queue<int> queue;
    for (int i = 0; i < many; ++i) queue.put(i);
    CHECK(queue.size() == static_cast<std::size_t>(many));
    for (int i = 0; i < many; ++i) REQUIRE(queue.get() == i);
}

TEST_CASE("many producers and consumers pass each item once") {
    const int messages = how_often(2000, 100000);
    constexpr int producers = 3;
    for (const std::int64_t max_size : {0, 1, 10}) {
        const Queue<Message> queue(max_size);
        const Queue<std::vector<Message>> received;
        const auto produce = [&](int producer) {
            for (int i = 0; i < messages; ++i)
                queue.put({.producer = producer,
                           .number = i,
                           .text = std::string(static_cast<std::size_t>(i % 700), 'a')});
        };
        const auto consume = [&] {
            std::vector<Message> all;
            try {
                for (;;) all.push_back(queue.get());
            } catch (const EndOfFile&) {
                received.put(all);
            }
        };
        std::vector<Process> consuming;
        for (int i = 0; i < 2; ++i) consuming.emplace_back(consume);
        for (Process& process : consuming) process.start();
        std::vector<Process> producing;
        for (int i = 0; i < producers; ++i) producing.emplace_back(produce, i);
        for (Process& process : producing) process.start();
        for (Process& process : producing) CHECK(process.join_for(patience));
        queue.close();
        std::map<int, std::vector<int>> seen;
        for (int i = 0; i < 2; ++i) {
            std::map<int, int> last;
            for (const Message& message : received.get()) {
                seen[message.producer].push_back(message.number);
                CHECK(message.text.size() == static_cast<std::size_t>(message.number % 700));
                const auto [place, is_first] = last.emplace(message.producer, message.number);
                if (!is_first) CHECK(std::exchange(place->second, message.number) < message.number);
            }
        }
        for (Process& process : consuming) CHECK(process.join_for(patience));
        for (auto& [producer, numbers] : seen) {
            std::ranges::sort(numbers);
            std::vector<int> all(static_cast<std::size_t>(messages));
            std::iota(all.begin(), all.end(), 0);
            CHECK(numbers == all);
        }
        CHECK(seen.size() == producers);
    }
}

TEST_CASE("a process that was stopped goes on behind thousands of items") {
    const Queue<int> queue(64);
    const Shared<std::atomic<int>> rounds;
    Process process([&] {
        for (;; ++*rounds) {
            queue.put(1);
            static_cast<void>(queue.get());
        }
    });
    process.start();
    for (int i = 0; i < 100; ++i) {
        const int before = *rounds;
        while (*rounds < before + 10 && process.is_alive()) std::this_thread::yield();
        REQUIRE(process.is_alive());
        kill(process.pid(), SIGSTOP);
        // (If it was stopped within `get`, the ring is full after a while.)
        for (int n = 0; n < 10'000 && queue.put_for(1ms, n); ++n)
            static_cast<void>(queue.try_get());
        kill(process.pid(), SIGCONT);
    }
    process.kill();
    process.join();
}

TEST_CASE("a closed queue is drained and then ends") {
    const Queue<int> queue(5);
    queue.put(1);
    queue.put(2);
    Process waiting([&] {
        const Queue<int> never;
        Process other([&] { never.get(); });
        other.start();
        never.close();
        other.join();
        if (other.exitcode() != 1) std::exit(2);
    });
    waiting.start();
    queue.close();
    queue.close();
    CHECK_THROWS_AS(queue.put(3), QueueClosed);
    CHECK_THROWS_AS(queue.try_put(3), QueueClosed);
    CHECK(queue.size() == 2);
    CHECK(queue.get() == 1);
    CHECK(queue.try_get() == 2);
    CHECK_THROWS_AS(queue.get(), EndOfFile);
    CHECK_THROWS_AS(queue.try_get(), EndOfFile);
    CHECK_THROWS_AS(queue.get_for(1s), EndOfFile);
    CHECK(waiting.join_for(patience));
    CHECK(waiting.exitcode() == 0);
}

TEST_CASE("a queue passes to workers that are older than it is") {
    prong::ProcessPoolExecutor pool(2);
    pool.submit([] { return 0; }).get();
    const Queue<int> queue;
    auto first = pool.submit(take, queue);
    auto second = pool.submit(take, queue);
    queue.put(1);
    queue.put(2);
    CHECK(first.get() + second.get() == 3);
    const SimpleQueue<std::string> texts;
    pool.submit([](const SimpleQueue<std::string>& q) { q.put("text"); }, texts).get();
    CHECK_FALSE(texts.empty());
    CHECK(texts.get() == "text");
}

TEST_CASE("an item whose consumer dies within get is delivered again") {
    const Queue<Deadly> queue;
    queue.put({.level = 1});
    queue.put({.level = 2});
    Process victim([&] { queue.get(); });
    victim.set_name("victim");
    CHECK(run_to_exitcode(victim) == 3);
    std::vector<int> levels{queue.get_for(patience)->level, queue.get_for(patience)->level};
    std::ranges::sort(levels);
    CHECK(levels == std::vector{1, 2});
    CHECK(queue.empty());
}

TEST_CASE("an item that cannot be decoded is removed") {
    const Queue<Unreadable> queue;
    queue.put({});
    CHECK_THROWS(queue.get());
    CHECK(queue.empty());
    const JoinableQueue<Unreadable> joinable;
    joinable.put({});
    CHECK_THROWS(joinable.get());
    CHECK(joinable.join_for(0s));
}

TEST_CASE("producers and consumers are killed, and no item is lost, torn or doubled") {
    const int kills = how_often(30, 2000);
    const Queue<Message> queue(64);
    const auto produce = [&] {
        for (int i = 0;; ++i)
            queue.put({.producer = getpid(), .number = i, .text = std::string(3000, 'p')});
    };
    const auto consume = [&] {
        for (;;) {
            const Message message = queue.get();
            if (message.text != std::string(3000, 'p')) std::abort();
        }
    };
    for (int i = 0; i < kills; ++i) {
        Process producer(produce);
        Process consumer(consume);
        producer.start();
        consumer.start();
        std::this_thread::sleep_for(std::chrono::microseconds(i * 37 % 5000));
        producer.kill();
        consumer.kill();
        producer.join();
        CHECK(consumer.exitcode().value_or(-SIGKILL) == -SIGKILL);
        consumer.join();
    }
    // What is left can be taken, each item once.
    std::set<std::pair<int, int>> seen;
    queue.close();
    try {
        for (;;) {
            const auto message = queue.get_for(patience);
            REQUIRE(message);
            CHECK(message->text == std::string(3000, 'p'));
            CHECK(seen.emplace(message->producer, message->number).second);
        }
    } catch (const EndOfFile&) {
    }
    CHECK(queue.empty());
}

TEST_CASE("join waits until all items are done") {
    const JoinableQueue<int> queue;
    CHECK(queue.join_for(0s));
    queue.put(1);
    queue.put(2);
    CHECK_FALSE(queue.join_for(2ms));
    CHECK_THROWS_AS(queue.task_done(), std::logic_error);
    CHECK(queue.get() == 1);
    CHECK(queue.get() == 2);
    CHECK(queue.empty());
    CHECK_FALSE(queue.join_for(2ms));
    queue.task_done();
    CHECK_FALSE(queue.join_for(2ms));
    std::thread waiting([&] { queue.join(); });
    queue.task_done();
    waiting.join();
    CHECK_THROWS_AS(queue.task_done(), std::logic_error);
}

TEST_CASE("an item whose consumer dies before task_done is delivered again") {
    const JoinableQueue<int> queue;
    queue.put(1);
    Sleeper([&] { CHECK(queue.get() == 1); }).kill();
    prong::Delivery delivery;
    CHECK(queue.get(delivery) == 1);
    CHECK(delivery.count == 2);
    queue.task_done();
    CHECK(queue.join_for(0s));
    queue.put(5);
    CHECK(queue.get(delivery) == 5);
    CHECK(delivery.count == 1);
}

TEST_CASE("task_done leaves alone what another thread still decodes") {
    const JoinableQueue<Halved> queue;
    queue.put({.name = "slow", .text = "first"});
    queue.put({.name = "fast", .text = "second"});
    std::string text;
    std::thread decoding([&] { text = queue.get().text; });
    Halved::is_begun.wait(false);
    CHECK(queue.get().text == "second");
    queue.task_done();
    CHECK_THROWS_AS(queue.task_done(), std::logic_error);
    queue.put({.name = "fast", .text = "third"}); // into memory that is free
    Halved::may_end = true;
    Halved::may_end.notify_one();
    decoding.join();
    CHECK(text == "first");
    queue.task_done();
    CHECK_FALSE(queue.join_for(0s));
    CHECK(queue.get().text == "third");
    queue.task_done();
    CHECK(queue.join_for(0s));
}

TEST_CASE("threads are done with as many items as they have taken") {
    const JoinableQueue<int> queue;
    const int rounds = how_often(20000, 1000000);
    std::atomic<int> failures{0};
    const auto use = [&] {
        for (int i = 0; i < rounds; ++i) {
            queue.put(i);
            queue.get();
            try {
                queue.task_done();
            } catch (const std::logic_error&) {
                ++failures;
            }
        }
    };
    std::thread other(use);
    use();
    other.join();
    CHECK(failures == 0);
    CHECK(queue.join_for(0s));
}

TEST_CASE("consumers of a joinable queue share its items") {
    const int items = how_often(500, 50000);
    const JoinableQueue<int> queue(10);
    const Shared<std::atomic<int>> sum;
    std::vector<Process> consumers;
    for (int i = 0; i < 3; ++i) {
        consumers.emplace_back([&] {
            for (;;) {
                sum->fetch_add(queue.get());
                queue.task_done();
            }
        });
        consumers.back().set_daemon(true);
    }
    for (Process& process : consumers) process.start();
    for (int i = 0; i < items; ++i) queue.put(1);
    queue.join();
    CHECK(sum->load() == items);
    for (Process& process : consumers) process.kill();
    consumers.clear();
}

TEST_CASE("those who wait at a queue that ends are told so") {
    std::optional<Queue<int>> queue(std::in_place, 1);
    const prong::Semaphore ready(0);
    const auto expect_gone = [&](auto wait) {
        ready.release();
        try {
            wait();
        } catch (const prong::ObjectGone&) {
            return;
        }
        throw std::runtime_error("was not told");
    };
    const Queue<int> copy = *queue;
    Process consumer([&] { expect_gone([&] { copy.get(); }); });
    consumer.start();
    ready.acquire();
    queue.reset();
    CHECK(consumer.join_for(patience));
    CHECK(consumer.exitcode() == 0);
    CHECK_THROWS_AS(copy.put(1), prong::ObjectGone);
    CHECK_THROWS_AS(copy.size(), prong::ObjectGone);
}

TEST_CASE("queues that end while others use them harm nobody") {
    const int rounds = how_often(50, 3000);
    for (int round = 0; round < rounds; ++round) {
        std::optional<Queue<std::string>> queue(std::in_place, 4);
        const Queue<std::string> copy = *queue;
        const auto until_gone = [&](auto step) {
            try {
                for (;;) step();
            } catch (const prong::ObjectGone&) {
            }
        };
        Process producer([&] { until_gone([&] { copy.put(std::string(500, 'q')); }); });
        Process consumer([&] {
            until_gone([&] {
                if (copy.get() != std::string(500, 'q')) throw std::runtime_error("torn");
            });
        });
        producer.start();
        consumer.start();
        copy.put(std::string(500, 'q'));
        queue.reset();
        const Queue<std::string> in_its_place(4);
        CHECK(producer.join_for(patience));
        CHECK(consumer.join_for(patience));
        CHECK(producer.exitcode() == 0);
        CHECK(consumer.exitcode() == 0);
        CHECK(in_its_place.empty());
    }
}
