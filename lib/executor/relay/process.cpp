#include "executor/relay/process.hpp"

#include "os/process.hpp"

#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <exception>

namespace prong::executor {

int run_relay_process(SharedState& state, const RelayOptions& options,
                      const WorkerSurroundings& surroundings) {
    WorkerSlot& slot = state.slot(state.relay());
    slot.pid.store(getpid(), std::memory_order_relaxed);
    signal(SIGINT, SIG_IGN);  // the program handles Ctrl-C
    signal(SIGTERM, SIG_IGN); // it reads the stop mode, and ends what it has started
    prctl(PR_SET_NAME, "prong-relay");
    os::leave_quietly_on_exit();
    state.region.keep_from_children();
    slot.start.store(StartState::ready, std::memory_order_release);
    RelayPort port(state, surroundings);
    int status = 1;
    try {
        status = options.run(port);
    } catch (const std::exception& error) {
        port.set_failure(error.what());
    }
    slot.leaving.store(status == 0 && port.is_over(), std::memory_order_release);
    return status;
}

} // namespace prong::executor
