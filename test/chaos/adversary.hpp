#pragma once

#include "chaos/errand.hpp"
#include "pool/shared_state.hpp"

#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace prong::test {

/// The children of a process with one thread; as `children_of`, but quick where the kernel tells.
inline std::vector<pid_t> children_quickly(pid_t pid) {
    const std::string number = std::to_string(pid);
    std::ifstream file("/proc/" + number + "/task/" + number + "/children");
    if (!file) return workers_of(pid);
    std::vector<pid_t> children;
    for (pid_t child = 0; file >> child;) children.push_back(child);
    return children;
}

/// Sends signals to a supervisor's workers, whoever and whatever they are at, until it is told to
/// be calm.
class Adversary {
public:
    struct Manner {
        bool kills = true; ///< and not only stops them
        std::chrono::microseconds interval{2000};
    };

    Adversary(pid_t supervisor, const pool::Control& control, Manner manner, std::uint64_t seed)
        : supervisor_(supervisor), control_(control), manner_(manner), random_(seed),
          thread_([this](const std::stop_token& stop) { run(stop); }) {}

    /// From now on it only lets those go on that are stopped.
    void calm_down() {
        const std::lock_guard lock(mutex_);
        calm_ = true;
    }

    [[nodiscard]] std::uint64_t signals() const { return signals_; }
    /// How many of them may have ended a worker.
    [[nodiscard]] std::uint64_t deadly_signals() const { return deadly_signals_; }

private:
    using Clock = std::chrono::steady_clock;

    void run(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            std::exponential_distribution<double> share(1);
            std::this_thread::sleep_for(manner_.interval * std::min(share(random_), 5.0));
            const std::lock_guard lock(mutex_);
            const auto workers = children_quickly(supervisor_);
            if (calm_) {
                for (const pid_t worker : workers) kill(worker, SIGCONT);
                kill(supervisor_, SIGUSR1);
            } else {
                release(Clock::now());
                if (!workers.empty()) attack(workers[random_() % workers.size()]);
            }
        }
        release(Clock::time_point::max());
    }

    void attack(pid_t worker) {
        const auto choice = random_() % 8;
        if (choice < 2) return send(worker, SIGCONT);
        if (choice < 4 || !manner_.kills) {
            const auto most = one_in(random_, 8) ? 20'000U : 2'000U;
            stopped_.emplace_back(worker,
                                  Clock::now() + std::chrono::microseconds(up_to(random_, most)));
            return send(worker, SIGSTOP);
        }
        if (!has_mercy()) return;
        ++deadly_signals_;
        send(worker, choice < 6 ? SIGKILL : SIGTERM);
    }

    /// A pool whose workers are all killed before they are ready breaks, as it should.
    bool has_mercy() {
        const auto starts = control_.starts.load();
        if (starts != starts_seen_) deadly_since_start_ = 0;
        starts_seen_ = starts;
        return ++deadly_since_start_ < 20;
    }

    void send(pid_t worker, int signal) {
        if (kill(worker, signal) == 0) ++signals_;
    }

    void release(Clock::time_point now) {
        std::erase_if(stopped_, [now](const auto& one) {
            if (one.second <= now) kill(one.first, SIGCONT);
            return one.second <= now;
        });
    }

    pid_t supervisor_;
    const pool::Control& control_;
    Manner manner_;
    Random random_;
    std::vector<std::pair<pid_t, Clock::time_point>> stopped_;
    std::uint32_t starts_seen_ = 0;
    unsigned deadly_since_start_ = 0;
    std::mutex mutex_; ///< guards the next one, and is held during an attack
    bool calm_ = false;
    std::atomic<std::uint64_t> signals_ = 0;
    std::atomic<std::uint64_t> deadly_signals_ = 0;
    std::jthread thread_;
};

} // namespace prong::test
