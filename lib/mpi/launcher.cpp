#include "mpi/launcher.hpp"

#include "base/errno.hpp"
#include "base/fd.hpp"
#include "diag/exit_text.hpp"
#include "mpi/environment.hpp"
#include "mpi/library.hpp"
#include "os/descriptor.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string_view>

namespace prong::mpi {
namespace {

using namespace std::chrono_literals;

/// How long `--version` may take.
constexpr auto version_patience = 10s;

/// How often a wait asks whether it is unwanted.
constexpr auto slice = 20ms;

/// How long a launcher may take to end a job after SIGTERM, before it gets SIGKILL. Its daemons end
/// then, too.
constexpr auto end_patience = 3s;

std::string_view name_of(LauncherKind kind) {
    switch (kind) {
    case LauncherKind::open_mpi:
        return "Open MPI";
    case LauncherKind::hydra:
        return "MPICH";
    default:
        return "Slurm";
    }
}

/// Replaces this process, a fresh child, by the command, which has only the standard descriptors.
[[noreturn]] void execute(const std::vector<std::string>& command, int output) {
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing >= 0) dup2(nothing, STDIN_FILENO);
    if (output >= 0) {
        dup2(output, STDOUT_FILENO);
        dup2(output, STDERR_FILENO);
    }
    setsid(); // the program handles Ctrl-C, and no launcher waits for a password
    os::visit_open_descriptors([](int fd) {
        if (fd > STDERR_FILENO) fcntl(fd, F_SETFD, FD_CLOEXEC);
    });
    std::vector<char*> arguments;
    arguments.reserve(command.size() + 1);
    for (const std::string& argument : command)
        arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments.front(), arguments.data());
    _exit(127);
}

/// Returns what the command prints; nothing if it cannot be run, or `is_unwanted()`. What the
/// command has started ends with it.
std::optional<std::string> output_of(const std::vector<std::string>& command,
                                     const std::function<bool()>& is_unwanted) {
    auto [reader, writer] = os::socket_pair();
    const pid_t parent = getpid();
    const os::Fork child = os::fork_with_pidfd();
    if (child.pid == 0) {
        if (!os::set_parent_death_signal(SIGKILL, parent)) _exit(1);
        execute(command, writer.get());
    }
    writer.reset();
    const auto deadline = detail::Deadline::after(version_patience);
    const auto gives_up = [&] { return deadline.passed() || is_unwanted(); };
    std::string text;
    std::array<std::byte, 4096> buffer{};
    while (!gives_up()) {
        if (!os::wait_readable(reader.get(), detail::Deadline::after(slice))) continue;
        const std::size_t received = os::receive_some(reader.get(), buffer);
        if (received == 0) break;
        text.append(reinterpret_cast<const char*>(buffer.data()), received);
    }
    while (!os::wait_for_end(child.process, detail::Deadline::after(slice)) && !gives_up()) {
    }
    kill(-child.pid, SIGKILL); // not reaped yet, so the number of its group is its own
    os::wait_for_end(child.process);
    if (os::reap(child.process) != 0) return std::nullopt;
    return text;
}

std::optional<FoundLauncher> examine(const std::string& program,
                                     const std::function<bool()>& is_unwanted) {
    const auto version = output_of({program, "--version"}, is_unwanted);
    if (!version) return std::nullopt;
    const auto kind = launcher_kind(*version);
    if (!kind) {
        throw Error(program + " is no launcher of Open MPI, MPICH or Slurm");
    }
    if (*kind != library_kind && *kind != LauncherKind::slurm) {
        throw Error(program + " is a launcher of " + std::string(name_of(*kind)) +
                    ", but prong-mpi was built with " + std::string(name_of(library_kind)) +
                    ": set MpiOptions::launcher");
    }
    return FoundLauncher{.program = program, .kind = *kind};
}

/// One host, and how many ranks it has.
struct Share {
    std::string host;
    int ranks;
};

std::vector<Share> spread(const MpiOptions& options) {
    std::vector<Share> shares;
    const int hosts = static_cast<int>(options.hosts.size());
    const int ranks = serving_ranks(options);
    for (int i = 0; i < std::min(hosts, ranks); ++i) {
        const int more = i < ranks % hosts ? 1 : 0;
        shares.push_back(
            {.host = options.hosts.at(static_cast<std::size_t>(i)), .ranks = ranks / hosts + more});
    }
    return shares;
}

/// Returns the hosts with numbers of ranks, such as "node1:2,node2:1".
std::string list(const std::vector<Share>& shares) {
    std::string text;
    for (const Share& share : shares)
        text += (text.empty() ? "" : ",") + share.host + ":" + std::to_string(share.ranks);
    return text;
}

using Command = std::vector<std::string>;

void append(Command& command, Command more) {
    command.insert(command.end(), std::make_move_iterator(more.begin()),
                   std::make_move_iterator(more.end()));
}

void append_open_mpi(Command& command, const std::vector<Share>& shares, int ranks,
                     const Variables& variables, const std::string& program) {
    // Without `--enable-recovery` the loss of one rank ends the others.
    append(command, {"--bind-to", "none", "--enable-recovery", "--oversubscribe"});
    for (const auto& [name, value] : variables) append(command, {"-x", name});
    append(command, {"-n", "1"});
    if (!shares.empty()) append(command, {"--host", "localhost:1"});
    append(command, {program, ":", "-n", std::to_string(ranks)});
    if (!shares.empty()) append(command, {"--host", list(shares)});
    append(command, {program});
}

void append_hydra(Command& command, std::vector<Share> shares, int ranks,
                  const Variables& variables, const std::string& program) {
    append(command, {"-bind-to", "none"});
    for (const auto& [name, value] : variables) append(command, {"-genv", name, value});
    if (!shares.empty()) {
        // (The daemons on other hosts connect to this one by the first name in the list.)
        shares.insert(shares.begin(), {.host = host_name(), .ranks = 1});
        append(command, {"-hosts", list(shares)});
    }
    append(command, {"-n", "1", program, ":", "-n", std::to_string(ranks), program});
}

/// (`srun` passes on all variables. The first host has rank 0.)
void append_slurm(Command& command, const std::vector<Share>& shares, int ranks,
                  const std::string& program) {
    append(command,
           {"--cpu-bind=none", "--kill-on-bad-exit=0", "--ntasks=" + std::to_string(ranks + 1)});
    if (!shares.empty()) {
        std::string hosts = host_name();
        for (const Share& share : shares) hosts += "," + share.host;
        append(command, {"--distribution=cyclic", "--nodelist=" + hosts});
    }
    append(command, {program});
}

} // namespace

std::optional<LauncherKind> launcher_kind(const std::string& version) {
    const auto has = [&](const char* word) { return version.find(word) != std::string::npos; };
    if (has("Open MPI") || has("OpenRTE") || has("PRRTE")) return LauncherKind::open_mpi;
    if (has("HYDRA") || has("Hydra")) return LauncherKind::hydra;
    if (has("slurm")) return LauncherKind::slurm;
    return std::nullopt;
}

FoundLauncher find_launcher(const MpiOptions& options, const std::function<bool()>& is_unwanted) {
    if (!options.launcher.empty()) {
        if (auto found = examine(options.launcher, is_unwanted)) return *found;
        throw Error("cannot run the launcher " + options.launcher);
    }
    // Where both MPIs are installed, `mpirun` is that of one of them.
    const std::string specific =
        library_kind == LauncherKind::hydra ? "mpirun.mpich" : "mpirun.openmpi";
    for (const std::string& program : {specific, std::string("mpirun")}) {
        if (auto found = examine(program, is_unwanted)) return *found;
    }
    throw Error("there is no mpirun on the path: install that of " +
                std::string(name_of(library_kind)) + ", or set MpiOptions::launcher");
}

int serving_ranks(const MpiOptions& options) {
    const int by_default = std::max(1, static_cast<int>(options.hosts.size()));
    const int ranks = options.ranks.value_or(by_default);
    if (ranks < 1) throw std::invalid_argument("MpiOptions::ranks must be at least 1");
    return ranks;
}

std::vector<std::string> launch_command(const FoundLauncher& launcher, const MpiOptions& options,
                                        const Variables& variables, const std::string& program) {
    const std::vector<Share> shares = spread(options);
    const int ranks = serving_ranks(options);
    Command command{launcher.program};
    append(command, options.launcher_arguments);
    switch (launcher.kind) {
    case LauncherKind::open_mpi:
        append_open_mpi(command, shares, ranks, variables, program);
        break;
    case LauncherKind::hydra:
        append_hydra(command, shares, ranks, variables, program);
        break;
    case LauncherKind::slurm:
        append_slurm(command, shares, ranks, program);
        break;
    }
    return command;
}

void require_permitted_user(LauncherKind kind, const MpiOptions& options) {
    if (kind != LauncherKind::open_mpi || geteuid() != 0) return;
    if (std::ranges::count(options.launcher_arguments, "--allow-run-as-root") != 0) return;
    for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"}) {
        if (std::getenv(name) != nullptr) continue;
        throw Error("Open MPI does not start jobs of root unless "
                    "OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 are in the "
                    "environment");
    }
}

Launcher::Launcher(const std::vector<std::string>& command, const Variables& variables)
    : name_(command.front()) {
    const pid_t parent = getpid();
    os::Fork fork = os::fork_with_pidfd();
    if (fork.pid == 0) {
        for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
        if (!os::set_parent_death_signal(SIGTERM, parent)) _exit(1);
        execute(command, -1);
    }
    process_ = std::move(fork.process);
}

std::string Launcher::end() const {
    if (!exitcode_ && os::wait_for_end(process_, detail::Deadline::now()))
        exitcode_ = os::reap(process_).value_or(0);
    if (!exitcode_) return {};
    return name_ + " " + diag::exit_text(*exitcode_);
}

void Launcher::finish(detail::Deadline deadline) noexcept {
    try {
        for (const int signal : {SIGTERM, SIGKILL}) {
            if (exitcode_ || os::wait_for_end(process_, deadline)) break;
            os::send_signal(process_, signal);
            deadline = detail::Deadline::after(end_patience);
        }
        static_cast<void>(os::wait_for_end(process_, deadline));
        static_cast<void>(os::reap(process_));
    } catch (...) { // it gets SIGTERM when this process ends
    }
}

} // namespace prong::mpi
