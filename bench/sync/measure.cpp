#include "measure.hpp"

#include "../harness/timing.hpp"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <exception>
#include <iostream>
#include <string>
#include <thread>

namespace bench {
namespace {

constexpr std::size_t most_processes = 2048;

/// When processes start and end; in shared memory.
struct Course {
    std::atomic<int> ready{0};
    std::atomic<bool> go{false};
    std::array<std::atomic<std::int64_t>, most_processes> ends{};
};

std::int64_t now() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

double seconds_between(std::int64_t start, std::int64_t end) {
    return std::chrono::duration<double>(std::chrono::steady_clock::duration(end - start)).count();
}

void wait_for_child(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) throw std::runtime_error("a process failed");
}

/// Returns the seconds until all processes have done their part.
double run_once(const Job& job, std::int64_t count) {
    auto& course = make_shared_object<Course>();
    std::vector<pid_t> children;
    for (int process = 0; process < job.processes; ++process) {
        children.push_back(fork());
        if (children.back() != 0) continue;
        ++course.ready;
        while (!course.go) sched_yield();
        try {
            job.run(process, count);
        } catch (const std::exception& error) {
            std::cerr << "  " << error.what() << std::endl;
            _exit(1);
        }
        course.ends[static_cast<std::size_t>(process)] = now();
        _exit(0);
    }
    while (course.ready != job.processes) sched_yield();
    const std::int64_t start = now();
    course.go = true;
    for (const pid_t child : children) wait_for_child(child);
    const auto last = std::max_element(course.ends.begin(), course.ends.end());
    const double seconds = seconds_between(start, *last);
    munmap(&course, sizeof(course));
    return seconds;
}

} // namespace

std::vector<Workload> sync_workloads() {
    std::vector<Workload> workloads{
        {"lock", {{"lock_per_s", "lock and unlock", "locks/s", true}}, {1, 2, 8}},
        {"condition", {{"condition_per_s", "turns by a condition", "round trips/s", true}}, {2}},
        {"barrier", {{"barrier_per_s", "barrier", "phases/s", true}}, {2, 8}},
    };
    for (const auto& [id, size] : {std::pair{"64_b", "64 B"},
                                   {"4_kib", "4 KiB"},
                                   {"64_kib", "64 KiB"},
                                   {"1_mib", "1 MiB"}}) {
        const std::string name = std::string("queue_") + id;
        workloads.push_back(
            {name,
             {{name + "_per_s",
               std::string("queue, messages of ") + size + ", by pairs of processes", "messages/s",
               true}},
             {1, 2, 4}});
    }
    workloads.push_back({"manager", {{"manager_us", "a manager's call", "µs", false}}, {1}});
    workloads.push_back(
        {"death", {{"death_us", "from a holder's SIGKILL to the next holder", "µs", false}}, {2}});
    return workloads;
}

std::optional<std::size_t> message_bytes(const Workload& workload) {
    if (workload.id == "queue_64_b") return 64;
    if (workload.id == "queue_4_kib") return 4096;
    if (workload.id == "queue_64_kib") return 65536;
    if (workload.id == "queue_1_mib") return 1 << 20;
    return std::nullopt;
}

Figures measure_rate(const Workload& workload, const std::function<Job()>& make, double seconds) {
    std::int64_t count = 20;
    std::int64_t operations = 0;
    const auto timed = [&] {
        const Job job = make();
        const double elapsed = run_once(job, count);
        operations = job.operations(count);
        if (!job.is_right(operations)) throw std::runtime_error("wrong: " + workload.id);
        return elapsed;
    };
    for (double elapsed = timed(); elapsed < seconds / 2; elapsed = timed()) {
        const double more = std::min(8.0, 0.75 * seconds / elapsed + 0.1);
        count = static_cast<std::int64_t>(static_cast<double>(count) * more + 1);
    }
    const double elapsed = timed();
    return {{workload.metrics[0].id, static_cast<double>(operations) / elapsed}};
}

Figures measure_death(const Workload& workload, double seconds, const std::function<void()>& lock,
                      const std::function<void()>& unlock) {
    struct Signs {
        std::atomic<bool> held{false};
        std::atomic<bool> waits{false};
        std::atomic<std::int64_t> acquired{0};
    };
    std::vector<double> times;
    for (const Stopwatch all; all.seconds() < seconds || times.size() < 20;) {
        auto& signs = make_shared_object<Signs>();
        const pid_t holder = fork();
        if (holder == 0) {
            lock();
            signs.held = true;
            for (;;) pause();
        }
        while (!signs.held) sched_yield();
        const pid_t waiter = fork();
        if (waiter == 0) {
            signs.waits = true;
            lock();
            signs.acquired = now();
            unlock();
            _exit(0);
        }
        while (!signs.waits) sched_yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(2)); // it sleeps by then
        const std::int64_t killed = now();
        kill(holder, SIGKILL);
        wait_for_child(waiter);
        waitpid(holder, nullptr, 0);
        times.push_back(seconds_between(killed, signs.acquired) * 1e6);
        munmap(&signs, sizeof(signs));
    }
    return {{workload.metrics[0].id, quantile(times, 0.5)}};
}

} // namespace bench
