#pragma once

#include "executor/helpers.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <random>
#include <thread>

namespace prong::test {

/// Kills workers at random until `stop`, which returns how many it has killed.
class Killer {
public:
    Killer(pid_t supervisor, std::uint64_t seed)
        : thread_([this, supervisor, seed](const std::stop_token& stop) {
              std::mt19937_64 random(seed);
              while (!stop.stop_requested()) {
                  const auto workers = workers_of(supervisor);
                  if (workers.empty()) continue;
                  kills_ += kill(workers[random() % workers.size()], SIGKILL) == 0 ? 1 : 0;
                  std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
              }
          }) {}

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
