#pragma once

#include "workloads.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace bench {

/// What a competitor is made for; some must know the largest message beforehand.
struct Setup {
    int workers;
    std::size_t payload_bytes = 0;
};

/// A way to run tasks on a number of workers, from its construction to its destruction. Has what a
/// workload asks of it, or throws.
class Competitor {
public:
    Competitor() = default;
    Competitor(const Competitor&) = delete;
    Competitor& operator=(const Competitor&) = delete;
    virtual ~Competitor() = default;

    /// Submits `task` for 0 to `count` - 1, then takes all results; their sum.
    virtual std::int64_t run_all(Task task, int count) = 0;

    /// The same, with all tasks submitted in one call.
    virtual std::int64_t run_batch(Task /*task*/, int /*count*/) {
        throw std::logic_error("has no batches");
    }

    /// `run_all` from several threads at once, `count` tasks each. Empty if threads may not share
    /// the pool.
    virtual std::optional<std::int64_t> run_all_from(int /*threads*/, Task /*task*/,
                                                     int /*count*/) {
        return std::nullopt;
    }

    /// `increment(n)` on a worker, waited for.
    virtual int call(int n) = 0;

    /// `square` of 0 to `count` - 1, in order.
    virtual std::vector<std::int64_t> map_squares(int count) = 0;

    /// The same by a function whose code the compiler sees. Most have that anyway.
    virtual std::vector<std::int64_t> map_squares_by_lambda(int count) {
        return map_squares(count);
    }

    /// The bytes go to a worker and come back.
    virtual Bytes echo(const Bytes& /*bytes*/) { throw std::logic_error("has no payload"); }

    /// A worker's `make_bytes(size)`.
    virtual Bytes result(int /*size*/) { throw std::logic_error("has no payload"); }
};

/// `run_all` for those whose `submit(n)` returns a future.
template <typename Submit>
std::int64_t run_all_by_futures(int count, Submit submit) {
    std::vector<decltype(submit(0))> futures;
    futures.reserve(static_cast<std::size_t>(count));
    for (int n = 0; n < count; ++n) futures.push_back(submit(n));
    std::int64_t sum = 0;
    for (auto& future : futures) sum += future.get();
    return sum;
}

/// Calls `run` in several threads at once. Returns the sum of what it returns.
template <typename Run>
std::int64_t run_in_threads(int threads, Run run) {
    std::atomic<std::int64_t> sum = 0;
    std::vector<std::jthread> running;
    for (int i = 0; i < threads; ++i) running.emplace_back([&] { sum += run(); });
    running.clear();
    return sum;
}

using MakeCompetitor = std::unique_ptr<Competitor> (*)(Setup);

std::unique_ptr<Competitor> make_prong(Setup setup);
std::unique_ptr<Competitor> make_asio(Setup setup);
std::unique_ptr<Competitor> make_tbb(Setup setup);
std::unique_ptr<Competitor> make_fork_per_task(Setup setup);
std::unique_ptr<Competitor> make_message_queue(Setup setup);
std::unique_ptr<Competitor> make_floor(Setup setup);

/// 0 to `count` in `parts` pieces of nearly the same size: piece `part` begins here.
constexpr int part_begin(int count, int parts, int part) {
    return static_cast<int>(std::int64_t{count} * part / parts);
}

} // namespace bench
