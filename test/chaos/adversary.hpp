#pragma once

#include "base/fd.hpp"
#include "chaos/scripted_task.hpp"
#include "executor/shared/shared_state.hpp"
#include "os/child.hpp"
#include "os/process.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace prong::test {

/// The children of a process with one thread; like `children_of`, but fast
/// where the kernel lists them.
inline std::vector<pid_t> children_quickly(pid_t pid) {
    const std::string number = std::to_string(pid);
    std::ifstream file("/proc/" + number + "/task/" + number + "/children");
    if (!file) return workers_of(pid);
    std::vector<pid_t> children;
    for (pid_t child = 0; file >> child;) children.push_back(child);
    return children;
}

/// The parent of a process, 0 if there is no such process.
inline pid_t parent_of(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(file, line);
    std::istringstream rest(line.substr(std::min(line.rfind(')') + 1, line.size())));
    char state = 0;
    pid_t parent = 0;
    rest >> state >> parent;
    return parent;
}

/// Opens a pidfd of a child of `parent`, so that no signal can reach another process that has got
/// the same number. Empty if the child has ended.
inline os::PidFd hold_child(pid_t pid, pid_t parent, const os::PidFd& held_parent) {
    try {
        os::PidFd held = os::PidFd::of(pid);
        const bool is_child = parent_of(pid) == parent; // in this order: pid, parent, its life
        const bool parent_lives = !os::wait_for_end(held_parent, detail::Deadline::now());
        return is_child && parent_lives ? std::move(held) : os::PidFd();
    } catch (const std::system_error&) {
        return {};
    }
}

/// Sends signals to a supervisor's workers at random moments, until `calm_down`.
class Adversary {
public:
    struct Manner {
        bool kills = true; ///< and not only stops them
        std::chrono::microseconds interval{2000};
    };

    /// `supervisor`: a child of this process that has not been reaped yet.
    Adversary(pid_t supervisor, const executor::Control& control, Manner manner, std::uint64_t seed)
        : supervisor_(supervisor), held_supervisor_(os::PidFd::of(supervisor)), control_(control),
          manner_(manner), random_(seed),
          thread_([this](const std::stop_token& stop) { run(stop); }) {}

    /// From now on only continues stopped processes.
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
                for (const pid_t worker : workers) send(hold(worker), SIGCONT);
                os::send_signal(held_supervisor_, SIGUSR1);
            } else {
                release(Clock::now());
                if (!workers.empty()) attack(hold(workers[random_() % workers.size()]));
            }
        }
        release(Clock::time_point::max());
    }

    [[nodiscard]] os::PidFd hold(pid_t worker) const {
        return hold_child(worker, supervisor_, held_supervisor_);
    }

    void attack(os::PidFd worker) {
        const auto choice = random_() % 8;
        if (choice < 2) return send(worker, SIGCONT);
        if (choice < 4 || !manner_.kills) {
            const auto most = one_in(random_, 8) ? 20'000U : 2'000U;
            send(worker, SIGSTOP);
            stopped_.emplace_back(std::move(worker),
                                  Clock::now() + std::chrono::microseconds(up_to(random_, most)));
            return;
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

    void send(const os::PidFd& worker, int signal) {
        if (!worker) return;
        os::send_signal(worker, signal);
        ++signals_;
    }

    void release(Clock::time_point now) {
        std::erase_if(stopped_, [now](const auto& one) {
            if (one.second <= now && one.first) os::send_signal(one.first, SIGCONT);
            return one.second <= now;
        });
    }

    pid_t supervisor_;
    os::PidFd held_supervisor_;
    const executor::Control& control_;
    Manner manner_;
    Random random_;
    std::vector<std::pair<os::PidFd, Clock::time_point>> stopped_;
    std::uint32_t starts_seen_ = 0;
    unsigned deadly_since_start_ = 0;
    std::mutex mutex_; ///< guards the next one, and is held during an attack
    bool calm_ = false;
    std::atomic<std::uint64_t> signals_ = 0;
    std::atomic<std::uint64_t> deadly_signals_ = 0;
    std::jthread thread_;
};

} // namespace prong::test
