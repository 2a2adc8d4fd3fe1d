// Shows the state of a pool and of its workers while tasks run, redrawn in place like `top`.

#include <prong/prong.hpp>

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

void work(int milliseconds) {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

void crash() {
    std::raise(SIGSEGV);
}

void hang() {
    for (;;) pause();
}

void draw(const prong::PoolStats& stats, bool in_place) {
    const char* const end = in_place ? "\x1b[K\n" : "\n"; // clears the rest of the line
    if (in_place) std::printf("\x1b[H");
    std::printf("queued %lu  running %lu  submitted %lu  finished %lu  failed %lu  cancelled %lu  "
                "retried %lu  killed %lu%s",
                stats.queued, stats.running, stats.submitted, stats.finished, stats.failed,
                stats.cancelled, stats.retried, stats.killed, end);
    std::printf("%6s %8s %-9s %8s %9s %7s  %s%s", "worker", "pid", "state", "since", "finished",
                "deaths", "task", end);
    for (const prong::WorkerStats& worker : stats.workers) {
        const double seconds = std::chrono::duration<double>(worker.since).count();
        std::printf("%6d %8d %-9s %7.1fs %9lu %7lu  %s%s", worker.index, worker.pid,
                    to_string(worker.state).data(), seconds, worker.finished, worker.deaths,
                    worker.task.c_str(), end);
    }
    std::fflush(stdout);
}

} // namespace

int main(int argc, char** argv) {
    CLI::App app("Shows the state of a process pool while tasks run.");
    int workers = 4;
    int tasks = 400;
    app.add_option("--workers", workers, "worker processes")->capture_default_str();
    app.add_option("--tasks", tasks, "tasks, some of which crash or hang")->capture_default_str();
    CLI11_PARSE(app, argc, argv);

    prong::ProcessPoolExecutor pool(workers);
    auto timed = pool.with(prong::TaskOptions{.timeout = 300ms});
    std::vector<prong::Future<void>> futures;
    for (int i = 0; i < tasks; ++i) {
        futures.push_back(i % 40 == 13   ? pool.submit(crash)
                          : i % 40 == 26 ? timed.submit(hang)
                                         : timed.submit(work, 5 + i % 50));
    }

    const bool in_place = isatty(STDOUT_FILENO) != 0;
    if (in_place) std::printf("\x1b[2J");
    while (!prong::wait(futures, prong::ReturnWhen::all_completed, 100ms).not_done.empty()) {
        if (in_place) draw(pool.stats(), in_place);
    }
    draw(pool.stats(), in_place);
}
