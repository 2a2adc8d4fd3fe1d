#include "pool/worker.hpp"

#include "codec/exception.hpp"
#include "os/process.hpp"
#include "pool/result_writer.hpp"
#include "sync/spinner.hpp"

#include <prong/detail/task_type.hpp>

#include <cxxabi.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

namespace prong::pool {
namespace {

detail::Reader arguments_of(const SharedState& state, const ring::Record& record) {
    const auto* const begin = record.arguments_offset < sizeof(ring::Record)
                                  ? record.bytes
                                  : state.payload.at(record.arguments_offset);
    return detail::Reader({begin, record.arguments_length});
}

/// Runs the task and writes its result or exception into the record. Returns how it ended.
ring::TaskState execute(const SharedState& state, unsigned worker, ring::Record& record) {
    ResultWriter writer(state, worker, record);
    ring::TaskState end = ring::TaskState::returned;
    try {
        const auto* const type = reinterpret_cast<const detail::TaskType*>(record.task_type);
        detail::Reader arguments = arguments_of(state, record);
        type->run(arguments, writer);
    } catch (abi::__forced_unwind&) { // pthread_exit in the task: the end of this process
        throw;
    } catch (...) {
        end = ring::TaskState::thrown;
        writer.start_over();
        try {
            codec::encode_current_exception(writer);
        } catch (...) { // no shared memory for it: the parent finds an empty result
            writer.start_over();
        }
    }
    writer.store();
    return end;
}

/// Reseeds the C library's generators: otherwise all workers draw the same numbers.
void reseed() {
    const auto seed = static_cast<unsigned>(getpid()) * 2654435761U;
    srand(seed);
    srandom(seed);
}

/// When memory runs out, the kernel should choose a worker before the parent.
void volunteer_for_out_of_memory() {
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    [[maybe_unused]] const ssize_t written = write(fd, "500", 3);
    close(fd);
}

void prepare_process() {
    signal(SIGINT, SIG_IGN);  // the parent decides what Ctrl-C means
    signal(SIGTTOU, SIG_IGN); // may write to the terminal though not in its foreground group
    const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
    setrlimit(RLIMIT_CORE, &no_core);
    os::leave_quietly_on_exit();
    volunteer_for_out_of_memory();
    reseed();
}

} // namespace

void run_tasks(SharedState& state, unsigned worker) {
    ring::Note& note = state.slot(worker).note;
    sync::Spinner spinner;
    bool searching = true;
    state.parking.set_searching(worker);
    for (;;) {
        if (const auto claim = state.ring.claim(static_cast<std::uint16_t>(worker), note)) {
            if (searching) {
                searching = false;
                spinner.found();
                state.parking.stop_searching(worker);
                if (state.ring.has_work()) state.parking.work_arrived(); // for the others
            }
            const ring::TaskState end = execute(state, worker, *claim->record);
            std::uint8_t waiters = 0;
            if (ring::Ring::finish(*claim, end, waiters)) state.announce(*claim->record, waiters);
        } else if (state.ring.drained()) {
            state.parking.stop_searching(worker);
            state.parking.wake_all(); // the others should leave, too
            return;
        } else if (!searching) {
            searching = true;
            state.parking.set_searching(worker); // and look once more
        } else if (!spinner.spin(state.parking.searching())) {
            state.parking.park(worker,
                               [&] { return state.ring.has_work() || state.ring.drained(); });
        }
    }
}

int run_worker_process(SharedState& state, unsigned worker, const WorkerHooks& hooks) {
    prepare_process();
    try {
        if (hooks.initializer) hooks.initializer();
    } catch (const std::exception& error) {
        state.slot(worker).failure.set(std::string("the initializer threw: ") + error.what());
        return 1;
    } catch (...) {
        state.slot(worker).failure.set("the initializer threw something that is no std::exception");
        return 1;
    }
    state.slot(worker).ready.store(true, std::memory_order_release);
    state.control().starts.fetch_add(1, std::memory_order_release);
    run_tasks(state, worker);
    return 0;
}

} // namespace prong::pool
