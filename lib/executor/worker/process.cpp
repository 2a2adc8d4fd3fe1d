#include "executor/worker/process.hpp"

#include "diag/crash_dump.hpp"
#include "executor/worker/this_task.hpp"
#include "os/capture.hpp"
#include "os/process.hpp"
#include "os/seed.hpp"

#include <prong/this_task.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>

namespace prong::executor {
namespace {

/// How long a condemned worker waits to be killed. It kills itself after that: the supervisor does
/// not find it if shared memory is corrupt.
constexpr std::chrono::seconds condemned_patience{1};

/// Makes the kernel choose a worker before the parent when memory runs out.
void volunteer_for_out_of_memory() {
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    [[maybe_unused]] const ssize_t written = write(fd, "500", 3);
    close(fd);
}

void prepare_process(WorkerSlot& slot) {
    signal(SIGINT, SIG_IGN); // the parent handles Ctrl-C
    // A process that opens a terminal is in no foreground group there: it may write, and reads
    // fail.
    signal(SIGTTOU, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    rlimit core{};
    if (getrlimit(RLIMIT_CORE, &core) == 0) {
        core.rlim_cur = 0; // an initializer may raise it again
        setrlimit(RLIMIT_CORE, &core);
    }
    os::leave_quietly_on_exit();
    volunteer_for_out_of_memory();
    os::write_whole_lines();
    diag::dump_crashes_to(slot.crash);
}

/// Reduces the number of tasks by up to an eighth, so that workers that started together do not
/// leave together.
Recycling with_jitter(Recycling recycling) {
    if (recycling.max_tasks)
        *recycling.max_tasks -=
            static_cast<std::uint64_t>(getpid()) * 2654435761U % (*recycling.max_tasks / 8 + 1);
    return recycling;
}

/// Runs a hook. Returns what it threw as text, or an empty text.
std::string trouble_in(const WorkerHook& hook, const std::string& name) {
    try {
        if (hook) hook();
        detail::end_copy_of_worker(0);
        return {};
    } catch (const std::exception& error) {
        detail::end_copy_of_worker(1);
        return name + " threw: " + error.what();
    } catch (...) {
        detail::end_copy_of_worker(1);
        return name + " threw an object that is not a std::exception";
    }
}

} // namespace

int run_worker_process(SharedState& state, unsigned worker, const WorkerHooks& hooks,
                       const Recycling& recycling, const WorkerSurroundings& surroundings) {
    WorkerSlot& slot = state.slot(worker);
    slot.pid.store(getpid(), std::memory_order_relaxed);
    prepare_process(slot);
    become_worker(state, worker);
    os::seed_c_library(this_worker::seed()); // otherwise all workers would draw the same numbers
    std::string trouble = trouble_in(hooks.initializer, "the initializer");
    if (trouble.empty()) trouble = trouble_in(hooks.on_start, "on_worker_start");
    if (!trouble.empty()) {
        slot.failure.set(trouble);
        return 1;
    }
    // Again: an initializer that changes the user clears `PR_SET_PDEATHSIG`.
    if (!os::set_parent_death_signal(SIGKILL, surroundings.supervisor)) return 1;
    StartState expected = StartState::starting;
    // Otherwise it has exceeded its limit: the supervisor kills it.
    if (!slot.start.compare_exchange_strong(expected, StartState::ready)) return 1;
    state.control().starts.fetch_add(1, std::memory_order_release);
    const Leaving leaving = run_tasks(state, worker, with_jitter(recycling), surroundings);
    if (leaving == Leaving::condemned) {
        std::this_thread::sleep_for(condemned_patience); // for the supervisor's SIGKILL
        kill(getpid(), SIGKILL);
    }
    slot.leaving.store(true, std::memory_order_release);
    if (hooks.limit && hooks.on_exit) surroundings.notify_supervisor();
    trouble = trouble_in(hooks.on_exit, "on_worker_exit");
    if (!trouble.empty()) std::fprintf(stderr, "prong: %s\n", trouble.c_str());
    return 0;
}

} // namespace prong::executor
