// What a pool keeps when work is over: memory some seconds after a flood, and the CPU.

#include "measure.hpp"

#include <prong/prong.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

namespace bench {
namespace {

using namespace std::chrono_literals;

constexpr int flood_tasks = 1'000'000;
constexpr int piece_mib = 16;
constexpr auto pause_after_flood = 3s;

/// Calls `visit` with each child of `parent`, their children and so on.
void for_descendants(pid_t parent, const std::function<void(pid_t)>& visit) {
    for (const auto& task :
         std::filesystem::directory_iterator("/proc/" + std::to_string(parent) + "/task")) {
        std::ifstream children(task.path() / "children");
        for (pid_t child = 0; children >> child;) {
            visit(child);
            for_descendants(child, visit);
        }
    }
}

/// Nanoseconds on a CPU since the start, of this process's descendants.
double descendants_cpu_seconds() {
    double sum = 0;
    for_descendants(getpid(), [&](pid_t pid) {
        double nanoseconds = 0;
        std::ifstream("/proc/" + std::to_string(pid) + "/schedstat") >> nanoseconds;
        sum += nanoseconds * 1e-9;
    });
    return sum;
}

/// MiB of this process and its descendants; of memory that they share, a share each.
double used_mib() {
    double sum = 0;
    const auto add = [&](pid_t pid) {
        std::ifstream lines("/proc/" + std::to_string(pid) + "/smaps_rollup");
        std::string rest;
        std::getline(lines, rest); // the range of addresses
        for (std::string name; lines >> name; std::getline(lines, rest)) {
            double kib = 0;
            if (name == "Pss:" && lines >> kib) sum += kib / 1024;
        }
    };
    add(getpid());
    for_descendants(getpid(), add);
    return sum;
}

/// Returns what is in use some seconds after `flood` beyond what was before.
template <typename Flood>
double mib_after(Flood flood) {
    const double before = used_mib();
    flood();
    std::this_thread::sleep_for(pause_after_flood);
    return used_mib() - before;
}

template <typename Submit>
void take_all(int count, Submit submit) {
    std::vector<decltype(submit(0))> futures;
    for (int i = 0; i < count; ++i) futures.push_back(submit(i));
    for (auto& future : futures) future.get();
}

} // namespace

Figures measure_flood(int payload_mib) {
    prong::ProcessPoolExecutor pool(two_workers);
    const Bytes piece(std::size_t{piece_mib} << 20, 'x');
    take_all(1000, [&](int n) { return pool.submit(increment, n); });
    const double tasks =
        mib_after([&] { take_all(flood_tasks, [&](int n) { return pool.submit(increment, n); }); });

    // Arguments and results of as many pieces as memory has room for.
    const auto room = static_cast<int>(available_memory() / piece.size() / 4);
    const double payload = mib_after([&] {
        for (int left = payload_mib / piece_mib; left > 0; left -= room) {
            take_all(std::min(left, room), [&](int) { return pool.submit(echo, piece); });
        }
    });
    return {{"flood_tasks_mib", tasks}, {"flood_payload_mib", payload}};
}

Figures measure_idleness(int workers, double seconds) {
    prong::ProcessPoolExecutor pool(workers);
    seconds = std::max(seconds, 1.0);
    take_all(1000, [&](int n) { return pool.submit(increment, n); });
    std::this_thread::sleep_for(100ms);
    const double before = descendants_cpu_seconds();
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    return {{"idle_cpu_share", (descendants_cpu_seconds() - before) / seconds}};
}

} // namespace bench
