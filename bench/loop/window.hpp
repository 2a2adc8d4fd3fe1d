#pragma once

#include "../harness/suite.hpp"
#include "../harness/timing.hpp"
#include "../pool/workloads.hpp"

#include <boost/asio.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>

namespace bench {

namespace net = boost::asio;

inline constexpr int workers = 2;

/// The CPU time of this process, without its children.
inline double cpu_seconds() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto seconds = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
    };
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

/// Runs no-ops with a fixed number outstanding, each followed by the next as soon as it is done.
class Window {
public:
    Window(net::io_context& loop, int outstanding) : loop_(loop), outstanding_(outstanding) {}

    /// `start(n)` begins a no-op, which calls `done` in the loop.
    template <typename Start>
    void run(int count, Start start) {
        pending_ = 0;
        int started = 0;
        while (started < count || pending_ > 0) {
            while (started < count && pending_ < outstanding_) {
                ++pending_;
                start(started++);
            }
            loop_.run_one();
        }
    }

    void done() { --pending_; }

private:
    net::io_context& loop_;
    net::executor_work_guard<net::io_context::executor_type> work_{loop_.get_executor()};
    int outstanding_;
    int pending_ = 0;
};

/// `run(count)` takes no-ops from the first start to the last end. Returns their rate, and the CPU
/// time that each takes in this process.
template <typename Run>
Figures rate_and_cpu(int outstanding, double seconds, Run run) {
    int count = std::max(1'000, 2 * outstanding);
    run(count); // warms up
    for (;;) {
        const Stopwatch watch;
        run(count);
        if (watch.seconds() >= seconds / 4 || count >= 2'000'000) break;
        count *= 2;
    }
    const double cpu = cpu_seconds();
    const std::vector<double> times = sample(seconds, 3, [&] { run(count); });
    const double all = static_cast<double>(count) * static_cast<double>(times.size());
    return {{"awaited_per_s", count / quantile(times, 0.5)},
            {"awaited_cpu_us", (cpu_seconds() - cpu) / all * 1e6}};
}

/// `trip()` runs `run_briefly`, during which the loop falls asleep, and returns how many
/// nanoseconds after its end the handler has run.
template <typename Trip>
Figures delays(double seconds, Trip trip) {
    std::vector<double> nanoseconds;
    for (const Stopwatch all; all.seconds() < seconds || nanoseconds.size() < 200;)
        nanoseconds.push_back(static_cast<double>(trip()));
    return {{"delay_p50_us", quantile(nanoseconds, 0.5) * 1e-3},
            {"delay_p99_us", quantile(nanoseconds, 0.99) * 1e-3}};
}

} // namespace bench
