#pragma once

#include "executor/helpers.hpp"
#include "support/environment.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <random>
#include <thread>

namespace prong::test {

/// Kills processes at random, in a thread of its own, until `stop`.
class Killer {
public:
    using Random = std::mt19937_64;

    /// `strike(random)` returns how many it has killed; at most `pause` lies between two strikes.
    template <typename Strike>
    Killer(std::chrono::microseconds pause, Strike strike)
        : thread_([this, pause, strike](const std::stop_token& stop) {
              Random random(test_seed());
              while (!stop.stop_requested()) {
                  kills_ += strike(random);
                  const auto most = static_cast<std::uint64_t>(pause.count());
                  std::this_thread::sleep_for(std::chrono::microseconds(random() % most));
              }
          }) {}
    /// Kills workers.
    explicit Killer(pid_t supervisor)
        : Killer(3ms, [supervisor](Random& random) {
              const auto workers = workers_of(supervisor);
              if (workers.empty()) return 0;
              return kill(workers[random() % workers.size()], SIGKILL) == 0 ? 1 : 0;
          }) {}

    [[nodiscard]] int kills() const { return kills_; }

    int stop() {
        thread_.request_stop();
        thread_.join();
        return kills_;
    }

private:
    std::atomic<int> kills_ = 0;
    std::jthread thread_;
};

} // namespace prong::test
