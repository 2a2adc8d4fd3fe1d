#pragma once

// A pool whose tasks run elsewhere, where "elsewhere" is another pool of this machine: its relay
// moves tasks without MPI.

#include "executor/helpers.hpp"
#include "executor/relay/relay_port.hpp"
#include "executor/serving/served_tasks.hpp"

#include <prong/process_pool_executor.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace prong::test {

/// The host that the loopback names.
inline constexpr const char* far_host = "far";
inline constexpr int far_rank = 1;

/// A relay that runs its tasks in a pool of its own.
class Loopback {
public:
    Loopback(executor::RelayPort& port, PoolOptions served,
             OnWorkerDeath on_death = OnWorkerDeath::replace)
        : port_(port), served_(std::move(served)), on_death_(on_death) {}

    /// Serves until the pool is over. Returns the exit status.
    int run() {
        while (!port_.is_over()) {
            const bool is_unwanted = port_.stop_mode() > proc::StopMode::drain;
            if (is_unwanted || port_.is_orphaned() || has_given_up_) return 1;
            if (!step()) port_.nap(std::chrono::microseconds(200), true);
        }
        return 0;
    }

    /// Moves what is there in each direction. Returns whether there was anything.
    bool step() {
        int room = 64;
        const std::size_t claimed = port_.claim([&](const executor::RelayTask& task) {
            send(task);
            return --room != 0;
        });
        for (const auto request : port_.take_requests()) {
            const std::uint64_t number = numbers_.at(request.claim);
            request.is_kill ? served_.kill(number) : served_.request_stop(number);
        }
        const auto ended = served_.take_ended();
        for (const auto& [number, end] : ended) receive(number, end);
        if (++steps_ % 16 == 0) publish();
        return claimed != 0 || !ended.empty();
    }

private:
    void publish() {
        std::vector<executor::RelayWorker> workers;
        for (const auto& [stats, task, is_running] : served_.workers()) {
            workers.push_back({.stats = stats, .claim = std::nullopt});
            const auto claim = claims_.find(task);
            if (is_running && claim != claims_.end()) workers.back().claim = claim->second;
        }
        port_.publish(far_rank, far_host, workers);
    }

    /// Larger values arrive in pieces of this size.
    static constexpr std::size_t piece = 1 << 16;

    static void copy(std::span<const std::byte> from, std::span<std::byte> to) {
        for (std::size_t i = 0; i < from.size(); i += piece)
            std::memcpy(to.data() + i, from.data() + i, std::min(piece, from.size() - i));
    }

    void send(const executor::RelayTask& task) {
        const std::uint64_t number = next_++;
        claims_[number] = task.claim;
        numbers_[task.claim] = number;
        port_.assign(task.claim, far_rank);
        std::span<const std::byte> arguments = task.arguments;
        if (arguments.size() > piece) {
            const std::span<std::byte> place = served_.reserve(number, arguments.size());
            if (place.empty()) return; // it will end
            copy(arguments, place);
            arguments = place;
        }
        served_.submit(number, *task.type, arguments, task.options, task.attempt);
    }

    void receive(std::uint64_t number, executor::TaskEnd end) {
        const std::uint32_t claim = claims_.at(number);
        claims_.erase(number);
        numbers_.erase(claim);
        if (end.bytes.size() > piece) {
            const std::span<std::byte> place = port_.reserve_end(claim, end.bytes.size());
            if (place.empty()) {
                port_.end_without_room(claim);
                return served_.release(number);
            }
            copy(end.bytes, place);
            end.bytes = place;
        }
        if (end.state == ring::TaskState::cancelled)
            port_.take_back(claim);
        else if (const auto cause = port_.end(claim, end, far_host, on_death_); !cause.empty())
            give_up(cause);
        served_.release(number);
    }

    void give_up(const std::string& cause) {
        port_.give_up(cause);
        has_given_up_ = true;
    }

    executor::RelayPort& port_;
    executor::ServedTasks served_;
    OnWorkerDeath on_death_;
    std::uint64_t next_ = 1;
    std::map<std::uint64_t, std::uint32_t> claims_;  ///< by number
    std::map<std::uint32_t, std::uint64_t> numbers_; ///< by claim
    unsigned steps_ = 0;
    bool has_given_up_ = false;
};

struct LoopbackOptions {
    PoolOptions pool = {};   ///< its workers are the local ones
    PoolOptions served = {}; ///< of the pool that stands for other hosts
    unsigned claims = 64;
    unsigned relaunches = 0;
    bool is_family = true;
};

inline executor::RelayOptions loopback_relay(const LoopbackOptions& options) {
    return {.claims = options.claims,
            .relaunches = options.relaunches,
            .run = [served = options.served](
                       executor::RelayPort& port) { return Loopback(port, served).run(); },
            .is_family = options.is_family};
}

class LoopbackPool : public ProcessPoolExecutor {
public:
    explicit LoopbackPool(const LoopbackOptions& options = {.served = {.max_workers = 2}})
        : ProcessPoolExecutor(with_local_workers(options.pool), loopback_relay(options)) {}
    LoopbackPool(PoolOptions pool, executor::RelayOptions relay)
        : ProcessPoolExecutor(with_local_workers(std::move(pool)), std::move(relay)) {}

private:
    static PoolOptions with_local_workers(PoolOptions options) {
        if (!options.max_workers) options.max_workers = 0;
        return options;
    }
};

} // namespace prong::test
