#pragma once

// What a parent does with a pool whose workers corrupt shared memory: submits tasks of all kinds,
// takes and drops futures, and counts how they end.

#include "executor/core_pool.hpp"
#include "executor/helpers.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace prong::test {

using Random = std::mt19937_64;

inline std::string echo(const std::string& text) {
    return text;
}

inline std::vector<std::string> split(const std::vector<int>& numbers) {
    std::vector<std::string> texts;
    for (const int number : numbers) texts.push_back(std::to_string(number));
    return texts;
}

inline int fail(int number) {
    throw std::out_of_range(std::to_string(number));
}

/// How futures have ended.
inline std::map<std::string, int> tally;

inline void print_tally(const std::string& title) {
    std::cerr << title << ":";
    for (const auto& [end, times] : std::exchange(tally, {}))
        std::cerr << " " << end << " " << times;
    std::cerr << "\n";
}

/// Futures of all kinds as one.
class Pending {
public:
    template <typename R>
    explicit Pending(Future<R> future) : future_(std::make_shared<Holder<R>>(std::move(future))) {}

    bool ends_within(std::chrono::nanoseconds time) { return future_->ends_within(time); }
    void take() { future_->take(); }
    void disturb(Random& random) { future_->disturb(random); }

private:
    struct AnyHolder {
        virtual ~AnyHolder() = default;
        virtual bool ends_within(std::chrono::nanoseconds time) = 0;
        virtual void take() = 0;
        virtual void disturb(Random& random) = 0;
    };
    template <typename R>
    struct Holder final : AnyHolder {
        explicit Holder(Future<R> given) : future(std::move(given)) {}

        bool ends_within(std::chrono::nanoseconds time) override {
            return !future.valid() || future.wait_for(time);
        }
        void take() override {
            try {
                if (!future.valid()) return;
                static_cast<void>(future.get_for(0s));
                ++tally["returned"];
            } catch (const TimeoutError&) { // the word that said it was done has changed
                future = {};
            } catch (const std::exception& error) { // any end will do
                ++tally[detail::type_name(typeid(error))];
            }
        }
        void disturb(Random& random) override {
            if (!future.valid()) return;
            switch (random() % 8) {
            case 0:
                future.cancel();
                break;
            case 1:
                future.kill();
                break;
            case 2:
                static_cast<void>(future.running() || future.cancelled());
                break;
            case 3:
                if (future.done()) static_cast<void>(future.exception());
                break;
            case 4:
                if (future.done()) take();
                break;
            case 5:
                future = {};
                break;
            default:
                static_cast<void>(future.wait_for(std::chrono::microseconds(random() % 2000)));
            }
        }
        Future<R> future;
    };

    std::shared_ptr<AnyHolder> future_;
};

/// Submits a task of some kind, as long as the pool takes any.
template <typename Pool>
bool submit_something(Pool& pool, std::vector<Pending>& pending, Random& random) {
    const auto number = static_cast<int>(random() % 1000);
    const auto size =
        static_cast<std::size_t>(random() % 4 == 0 ? random() % 30'000 : random() % 60);
    const TaskOptions options{.timeout = random() % 2 == 0 ? Timeout(50ms) : std::nullopt,
                              .grace = 10ms,
                              .max_retries = static_cast<int>(random() % 3),
                              .priority = static_cast<Priority>(random() % 3),
                              .capture_output = random() % 4 == 0};
    try {
        switch (random() % 6) {
        case 0:
            pending.emplace_back(pool.submit(echo, std::string(size, 'x')));
            break;
        case 1:
            pending.emplace_back(pool.submit(split, std::vector<int>(size / 8, number)));
            break;
        case 2:
            pending.emplace_back(pool.submit(fail, number));
            break;
        case 3:
            pending.emplace_back(pool.with(options).submit(square, number));
            break;
        case 4:
            pending.emplace_back(pool.with(options).submit(echo, std::string(size, 'y')));
            break;
        default:
            pending.emplace_back(pool.submit(square, number));
        }
        return true;
    } catch (const std::runtime_error&) { // broken, shut down, or no shared memory
        return false;
    }
}

/// Waits for all of them, at most 40 s for each. Returns whether all have ended.
inline bool all_end(std::vector<Pending>& pending) {
    const bool ended =
        std::ranges::all_of(pending, [&](Pending& one) { return one.ends_within(40s); });
    for (Pending& one : pending) one.take();
    return ended;
}

inline bool another_pool_works() {
    ProcessPoolExecutor pool(1);
    return pool.submit(square, 7).get() == 49;
}

/// Where the parts of shared memory begin, which a worker does not know.
struct Map {
    std::uint64_t records;
    std::uint64_t settings;
    std::uint64_t payload;
};

inline Map map_of(const executor::SharedState& state) {
    const auto offset = [&](const auto& part) {
        return static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(&part) -
                                          state.region.base());
    };
    return {.records = offset(state.records[0]),
            .settings = offset(state.settings(0)),
            .payload =
                offset(state.settings(0)) + state.records.size() * sizeof(executor::TaskSettings)};
}

} // namespace prong::test
