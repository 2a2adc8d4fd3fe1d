#include "base/file.hpp"
#include "codec/addresses.hpp"
#include "mpi/dismissal.hpp"
#include "mpi/environment.hpp"
#include "mpi/handover.hpp"
#include "mpi/serve_state.hpp"
#include "mpi/server.hpp"
#include "os/process.hpp"

#include <prong/mpi.hpp>
#include <prong/zygote.hpp>

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace prong::mpi {
namespace {

bool serve_was_called = false;
bool is_other_rank = false;

/// Loads what the program had loaded by `dlopen`, so that its tasks can have functions of it.
void load_modules(const std::string& paths) {
    std::string_view rest = paths;
    while (!rest.empty()) {
        const std::string path(rest.substr(0, rest.find(':')));
        rest.remove_prefix(std::min(rest.size(), path.size() + 1));
        // (What is not there, or is of another build, is refused with the first task of it.)
        dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    }
}

/// Lets tasks find the end of standard input at once: MPICH gives ranks a pipe without an end.
void close_standard_input() {
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0) return;
    dup2(null, STDIN_FILENO);
    if (null != STDIN_FILENO) close(null);
}

/// Serves until rank 0 has ended. The pool's processes are forked from the zygote, which knows
/// nothing of MPI: a fork after MPI_Init may corrupt memory.
int serve_rank() {
    is_other_rank = true;
    if (!os::set_parent_death_signal(SIGKILL, getppid())) return 1;
    if (const auto modules = variable(modules_variable)) load_modules(*modules);
    unsetenv(modules_variable); // not for jobs that tasks start
    unsetenv(socket_variable);
    Timeout launch_timeout = std::nullopt;
    if (const auto text = variable(launch_timeout_variable))
        launch_timeout = std::chrono::nanoseconds(base::to_number(*text).value_or(0));
    unsetenv(launch_timeout_variable);
    close_standard_input();
    codec::encode_places(); // the program has its modules at other addresses
    std::vector<std::string> variables = launcher_variables();
    std::erase_if(variables, [](const std::string& text) { return text.starts_with("SLURM_"); });
    unset_variables(variables); // tasks may start programs that use MPI
    start_zygote(Inherit::standard_only);
    set_variables(variables);
    return run_server(launch_timeout);
}

} // namespace

bool has_served() noexcept {
    return serve_was_called;
}

bool is_of_other_rank() noexcept {
    return is_other_rank;
}

void serve(int /*argc*/, char** /*argv*/) {
    if (os::thread_count() > 1)
        throw std::logic_error("prong::mpi::serve must be called before the program has threads");
    serve_was_called = true;
    const auto socket = variable(socket_variable);
    const int rank = launched_rank().value_or(0);
    const bool is_dismissal = variable(dismissal_variable).has_value();
    if (rank == 0 && !socket && !is_dismissal) { // the program
        if (launched_rank()) dismiss_ranks_at_exit();
        return;
    }
    int status = 1;
    try {
        if (is_dismissal)
            status = run_dismissal();
        else if (rank == 0)
            status = run_stub(*socket);
        else
            status = serve_rank();
    } catch (const std::exception& error) {
        os::write_to_stderr("prong: rank " + std::to_string(rank) +
                            " of an MPI job failed: " + error.what() + "\n");
    }
    os::exit_process(status);
}

} // namespace prong::mpi
