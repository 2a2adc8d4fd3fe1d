#pragma once

#include "sync/family.hpp"

#include <prong/queue.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

/// \file
/// The queues of chaos_test.cpp, and a log of what becomes of each item.

namespace prong::test {

/// What becomes of the items of one queue, by number.
struct ItemLog {
    static constexpr std::uint32_t most = 1 << 20;
    std::atomic<std::uint32_t> begun;
    std::array<std::atomic<bool>, most> was_put;     ///< `put` has returned
    std::array<std::atomic<bool>, most> was_refused; ///< … has returned false, or thrown
    std::array<std::atomic<bool>, most> was_decoded;
    std::array<std::atomic<std::uint8_t>, most> received; ///< how often `get` has returned it
};

struct Item {
    ItemLog* log = nullptr; ///< at the same address in all processes
    std::vector<std::uint32_t> copies;

    [[nodiscard]] std::uint32_t number() const { return copies.front(); }
    [[nodiscard]] bool is_whole() const {
        return std::ranges::all_of(copies, [&](std::uint32_t copy) { return copy == number(); });
    }

    void dwell() const {
        if (number() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    }

    template <class Archive>
    void save(Archive& archive) const {
        archive(reinterpret_cast<std::uintptr_t>(log), copies);
    }
    template <class Archive>
    void load(Archive& archive) {
        std::uintptr_t place = 0;
        archive(place, copies);
        log = reinterpret_cast<ItemLog*>(place);
        dwell(); // many die here
        log->was_decoded[number()] = true;
    }
};

/// A queue whose items are counted.
template <typename Queue>
class CountedQueue {
public:
    using Require = std::function<void(bool holds, const std::string& otherwise)>;

    CountedQueue(const char* name, Queue queue) : name_(name), queue_(std::move(queue)) {}

    /// Puts an item, or takes one, perhaps after a wait.
    void use(std::mt19937_64& random, const Require& require) {
        try {
            if (random() % 2 == 0)
                put(random);
            else
                take(random, require);
        } catch (const EndOfFile&) { // the end of the play
        } catch (const QueueClosed&) {
        }
    }

    /// Ends all waits.
    void close() { queue_.close(); }

    /// When all processes have ended: takes what is left, and checks every item.
    void check_at_rest(const Require& require) {
        try {
            for (;;) receive(queue_.get(), require);
        } catch (const EndOfFile&) {
        }
        if constexpr (is_joinable)
            require(queue_.join_for(std::chrono::seconds(0)), "an item is never done");
        for (std::uint32_t i = 0; i < std::min(log_->begun.load(), ItemLog::most); ++i) {
            const std::string item = std::string(name_) + ": item " + std::to_string(i);
            require(!log_->was_put[i] || log_->was_decoded[i], item + " is lost");
            require(!log_->was_refused[i] || !log_->was_decoded[i], item + " was refused, but put");
            // One that is not done may come again.
            require(is_joinable || log_->received[i] <= 1, item + " was received twice");
        }
    }

private:
    static constexpr bool is_joinable = requires(const Queue& queue) { queue.task_done(); };

    void put(std::mt19937_64& random) {
        const std::uint32_t number = log_->begun.fetch_add(1);
        if (number >= ItemLog::most) return;
        const Item item{.log = &*log_,
                        .copies = std::vector<std::uint32_t>(1 + random() % 500, number)};
        try {
            bool is_put = true;
            if constexpr (requires { queue_.put_for(std::chrono::milliseconds(1), item); })
                is_put = queue_.put_for(std::chrono::milliseconds(random() % 3), item);
            else
                queue_.put(item);
            (is_put ? log_->was_put : log_->was_refused)[number] = true;
        } catch (...) {
            log_->was_refused[number] = true;
            throw;
        }
    }

    void take(std::mt19937_64& random, const Require& require) {
        if constexpr (requires { queue_.get_for(std::chrono::milliseconds(1)); }) {
            if (random() % 4 != 0) {
                const auto item = queue_.get_for(std::chrono::milliseconds(random() % 3));
                if (item) receive(*item, require);
                return;
            }
        }
        receive(queue_.get(), require);
    }

    void receive(const Item& item, const Require& require) {
        require(item.is_whole(), std::string(name_) + ": an item is torn");
        log_->received[item.number()].fetch_add(1);
        if constexpr (is_joinable) {
            item.dwell();
            static_cast<void>(queue_.join_for(std::chrono::seconds(0)));
            queue_.task_done();
        }
    }

    const char* name_;
    Queue queue_;
    const Shared<ItemLog> log_;
};

} // namespace prong::test
