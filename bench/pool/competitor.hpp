#pragma once

#include "workloads.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace bench {

/// What a competitor is made for; some must know the largest message beforehand.
struct Setup {
    int workers;
    std::size_t payload_bytes = 0;
};

/// A way to run tasks on a number of workers, from its construction to its destruction.
class Competitor {
public:
    Competitor() = default;
    Competitor(const Competitor&) = delete;
    Competitor& operator=(const Competitor&) = delete;
    virtual ~Competitor() = default;

    /// Submits `task` for 0 to `count` - 1, then takes all results; their sum.
    virtual std::int64_t run_all(Task task, int count) = 0;

    /// `increment(n)` on a worker, waited for.
    virtual int call(int n) = 0;

    /// `square` of 0 to `count` - 1, in order.
    virtual std::vector<std::int64_t> map_squares(int count) = 0;

    /// The bytes go to a worker and come back.
    virtual Bytes echo(const Bytes& bytes) = 0;
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

using MakeCompetitor = std::unique_ptr<Competitor> (*)(Setup);

std::unique_ptr<Competitor> make_prong(Setup setup);
std::unique_ptr<Competitor> make_asio(Setup setup);
std::unique_ptr<Competitor> make_tbb(Setup setup);
std::unique_ptr<Competitor> make_fork_per_task(Setup setup);
std::unique_ptr<Competitor> make_message_queue(Setup setup);

/// 0 to `count` in `parts` pieces of nearly the same size: piece `part` begins here.
constexpr int part_begin(int count, int parts, int part) {
    return static_cast<int>(std::int64_t{count} * part / parts);
}

} // namespace bench
