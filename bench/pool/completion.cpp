// The cost of each completion to a program that has many tasks pending.

#include "../harness/timing.hpp"
#include "measure.hpp"

#include <prong/prong.hpp>

#include <ctime>
#include <functional>

namespace bench {
namespace {

std::int64_t do_nothing() {
    return now_ns();
}

double thread_cpu_us() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

using Futures = std::vector<prong::Future<std::int64_t>>;

void hold(const prong::Event& start) {
    start.wait();
}

/// The CPU time of this thread for each of `pending` tasks, from the start of the first to the last
/// result.
template <typename Wait>
double cpu_us_per_task(prong::ProcessPoolExecutor& pool, std::int64_t (*task)(), int pending,
                       Wait wait) {
    prong::Event start;
    Futures futures;
    const prong::Future<void> holder = pool.submit(hold, start);
    for (int i = 0; i < pending; ++i) futures.push_back(pool.submit(task));
    const double before = thread_cpu_us();
    start.set();
    wait(futures);
    return (thread_cpu_us() - before) / pending;
}

} // namespace

Figures measure_as_completed(int pending, double seconds) {
    prong::ProcessPoolExecutor pool(1);
    std::vector<double> delays;
    const auto take_each = [&](Futures& futures) {
        for (prong::Future<std::int64_t>& future : prong::as_completed(futures)) {
            const std::int64_t seen = now_ns();
            delays.push_back(static_cast<double>(seen - future.get()));
        }
    };
    const auto median = [&](const auto& cost) {
        std::vector<double> costs;
        for (const Stopwatch all; costs.size() < 2 || all.seconds() < seconds;)
            costs.push_back(cost());
        return quantile(costs, 0.5);
    };
    cpu_us_per_task(pool, do_nothing, pending, take_each); // warms up
    Figures figures;
    figures["as_completed_fast_us"] =
        median([&] { return cpu_us_per_task(pool, do_nothing, pending, take_each); });
    figures["wait_us"] = median([&] {
        return cpu_us_per_task(pool, do_nothing, pending,
                               [](Futures& futures) { prong::wait(futures); });
    });
    delays.clear();
    figures["as_completed_us"] = cpu_us_per_task(pool, run_briefly, pending, take_each);
    figures["as_completed_delay_us"] = quantile(delays, 0.5) * 1e-3;
    return figures;
}

} // namespace bench
