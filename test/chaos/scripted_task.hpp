#pragma once

#include "executor/helpers.hpp"

#include <prong/error.hpp>
#include <prong/this_task.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

/// \file
/// What chaos has its pools do: tasks of many kinds, each of which knows how it ends if nothing is
/// done to it.

namespace prong::test {

using Random = std::mt19937_64;

inline bool one_in(Random& random, unsigned n) {
    return random() % n == 0;
}
inline std::uint64_t up_to(Random& random, std::uint64_t most) {
    return random() % (most + 1);
}

enum class Kind : std::uint8_t {
    plain,   ///< returns at once
    slow,    ///< after a while
    throws,  ///< a `std::runtime_error`
    crashes, ///< in one of several ways, each time that it is tried
    unlucky, ///< crashes, but not when it is tried for the last time
    hangs,
    stops, ///< returns when it is asked to stop
    hogs,  ///< uses more processor time than it may
    forks, ///< leaves a process behind
};

/// The instructions of a task.
struct Order {
    std::uint64_t id;
    Kind kind;
    std::uint32_t place; ///< in the table of runs
    std::uint32_t result_size;
    std::uint32_t pause_us;
    int lucky_attempt;
    bool talks;
};

using Data = std::vector<std::uint64_t>;

/// How often each task has begun to run. It is there before any pool is.
struct RunTable {
    static constexpr std::uint32_t places = 4096;
    static constexpr std::uint32_t dropped = places; ///< for all dropped tasks
    std::array<Counter, places + 1> runs;
};
inline const Shared<RunTable> run_table;

inline std::uint64_t mix(std::uint64_t n) {
    n ^= n >> 31;
    n *= 0x9E3779B97F4A7C15;
    return n ^ n >> 29;
}

inline std::string text_of(const Order& order) {
    return "order " + std::to_string(order.id);
}

inline Data result_of(const Order& order, const Data& data) {
    std::uint64_t n = mix(order.id);
    for (const std::uint64_t one : data) n = mix(n ^ one);
    Data result(order.result_size);
    for (std::uint64_t& one : result) one = n = mix(n + 1);
    return result;
}

inline constexpr std::array<int, 5> crash_codes{-SIGSEGV, -SIGABRT, -SIGKILL, 7, 9};

inline int crash_code(const Order& order) {
    return crash_codes[order.id % crash_codes.size()];
}

inline void crash(const Order& order) {
    if (order.talks) std::cout << text_of(order) << std::endl;
    const int code = crash_code(order);
    if (code < 0) std::raise(-code);
    if (code == 7) _exit(code);
    std::exit(code);
}

/// The task.
inline Data run(const Order& order, const Data& data) {
    ++run_table->runs[order.place];
    const std::chrono::microseconds pause(order.pause_us);
    switch (order.kind) {
    case Kind::plain:
        break;
    case Kind::slow:
        std::this_thread::sleep_for(pause);
        break;
    case Kind::throws:
        throw std::runtime_error(text_of(order));
    case Kind::crashes:
        std::this_thread::sleep_for(pause);
        crash(order);
        break;
    case Kind::unlucky:
        if (this_task::attempt() < order.lucky_attempt) crash(order);
        break;
    case Kind::hangs:
        for (;;) ::pause();
    case Kind::stops:
        if (order.pause_us % 2 == 0) static_cast<void>(this_task::stop_token());
        while (!this_task::stop_requested())
            std::this_thread::sleep_for(std::chrono::microseconds(100));
        break;
    case Kind::hogs:
        for (std::atomic<int> i = 0;; ++i) {
        }
    case Kind::forks:
        if (fork() == 0)
            for (;;) ::pause();
        break;
    }
    return result_of(order, data);
}

/// How a task has ended, by its future.
struct Ending {
    enum class What {
        right,
        wrong,
        threw, ///< its own exception
        other, ///< another one
        died,
        poisoned,
        timed_out,
        over_limit,
        cancelled,
        broken,
        pending,
    };
    What what;
    int exitcode = 0;
    int attempts = 1;
    std::string output = {};
    std::string text = {};
};

inline const char* name_of(Ending::What what) {
    constexpr std::array names{
        "the right result", "a wrong result",    "its own error", "an error of another kind",
        "WorkerDied",       "PoisonedTask",      "TaskTimeout",   "LimitExceeded",
        "CancelledError",   "BrokenProcessPool", "no end"};
    return names[static_cast<std::size_t>(what)];
}

/// A task that has been submitted, and what is known of it.
struct ScriptedTask {
    static constexpr int never_give_up = 1'000'000;

    Order order;
    Data data;
    std::optional<TaskOptions> options = std::nullopt;
    Future<Data> future = {};
    bool cancelled = false; ///< `Future::cancel` has returned true
    bool killed = false;    ///< `Future::kill` has returned true
    bool may_time_out = false;

    [[nodiscard]] int retries() const { return options ? options->max_retries : 0; }

    /// How it ends if nothing is done to it.
    [[nodiscard]] Ending::What naturally() const {
        switch (order.kind) {
        case Kind::throws:
            return Ending::What::threw;
        case Kind::crashes:
            return retries() == 0 ? Ending::What::died : Ending::What::poisoned;
        case Kind::hangs:
        case Kind::stops:
            return Ending::What::timed_out;
        case Kind::hogs:
            return Ending::What::over_limit;
        default:
            return Ending::What::right;
        }
    }

    /// Takes the result, if it comes before `patience` is over.
    Ending end(std::chrono::milliseconds patience) {
        using enum Ending::What;
        if (!future.wait_for(patience)) return {pending};
        try {
            return {future.get() == result_of(order, data) ? right : wrong};
        } catch (const WorkerDied& error) {
            return {died, error.exitcode(), 1, error.last_output(), error.what()};
        } catch (const PoisonedTask& error) {
            return {poisoned, error.deaths().back().exitcode, error.attempts(), {}, error.what()};
        } catch (const TaskTimeout&) {
            return {timed_out};
        } catch (const LimitExceeded& error) {
            return {
                error.kind() == LimitKind::cpu_time ? over_limit : other, 0, 1, {}, error.what()};
        } catch (const CancelledError&) {
            return {cancelled};
        } catch (const BrokenProcessPool& error) {
            return {broken, 0, 1, {}, error.what()};
        } catch (const std::runtime_error& error) {
            return {error.what() == text_of(order) ? threw : other, 0, 1, {}, error.what()};
        } catch (const std::exception& error) {
            return {other, 0, 1, {}, error.what()};
        }
    }
};

} // namespace prong::test
