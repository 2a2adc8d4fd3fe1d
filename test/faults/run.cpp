#include "faults/run.hpp"

#include "support/leaks.hpp"
#include "support/processes.hpp"

#include <prong/detail/names.hpp>
#include <prong/process_pool_executor.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

namespace prong::test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

std::string describe(pid_t pid) {
    std::string where;
    std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/wchan"), where);
    for (const ProcessInfo& process : list_processes()) {
        if (process.pid != pid) continue;
        return process.name + " (" + std::to_string(pid) + ", child of " +
               std::to_string(process.parent) + ", state " + process.state + ", in " + where + ")";
    }
    return "process " + std::to_string(pid) + ", ended";
}

/// The memory of shared objects, which a process keeps: its first page and all of it.
bool is_kept(const std::string& line) {
    return line.find("memfd:prong-family") != std::string::npos;
}
constexpr int most_kept = 2;

/// Descriptors and shared mappings of this process, a line each.
std::set<std::string> held() {
    std::set<std::string> all;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
        std::error_code gone; // the one that this loop reads with
        const fs::path target = fs::read_symlink(entry.path(), gone);
        if (target.string().ends_with("/fd")) continue;
        all.insert("descriptor " + entry.path().filename().string() + " -> " + target.string());
    }
    std::ifstream maps("/proc/self/maps");
    int kept = 0;
    for (std::string line; std::getline(maps, line);) {
        if (is_kept(line) && ++kept <= most_kept) continue;
        const bool shared =
            line.find("memfd:") != std::string::npos || line.find("/dev/zero") != std::string::npos;
        if (shared) all.insert("mapping " + line);
    }
    return all;
}

/// Waits until this process has no child. Those that it has not forked itself were orphans, which
/// any program may get that is asked to take them: collected here, as init would.
void await_no_children(const std::vector<pid_t>& own) {
    const auto until = std::chrono::steady_clock::now() + 5s;
    for (;;) {
        siginfo_t info{};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) return;
        if (info.si_pid != 0) {
            if (std::ranges::find(own, info.si_pid) != own.end()) {
                Judge::violation("left behind", "zombie " + describe(info.si_pid));
            }
            waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED);
            continue;
        }
        if (std::chrono::steady_clock::now() > until) break;
        std::this_thread::sleep_for(1ms);
    }
    for (const ProcessInfo& left : descendants_of(getpid())) {
        Judge::violation("left behind", describe(left.pid));
        kill(left.pid, SIGKILL);
    }
    while (waitpid(-1, nullptr, 0) > 0) {
    }
}

void run_judged(const Scenario& scenario, Demand demand, const Shared<Gate>& gate) {
    const std::set<std::string> before = held();
    Judge judge(demand);
    board().armed = true;
    scenario.run(judge, gate);
    board().armed = false;
    await_no_children(forked_by_parent());
    for (const std::string& thing : held()) {
        if (!before.contains(thing)) Judge::violation("left behind", thing);
    }
    judge.attempt("a new pool", [&] {
        ProcessPoolExecutor pool(1);
        judge.require("a new pool", pool.submit(square, 3).get() == 9);
    });
}

[[noreturn]] void be_program(const Scenario& scenario, Demand demand, const Shared<Gate>& gate,
                             const std::function<void()>& prepare) {
    for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, STDOUT_FILENO); // what a failing program says is not read
    dup2(null, STDERR_FILENO);
    close(null);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    become_parent();
    prepare();
    try {
        run_judged(scenario, demand, gate);
    } catch (const std::exception& error) {
        Judge::violation("the program", std::string("threw: ") + error.what());
    }
    _exit(0);
}

bool ends_within(int pidfd, std::chrono::seconds limit) {
    pollfd entry{.fd = pidfd, .events = POLLIN, .revents = 0};
    return poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(limit).count())) == 1;
}

void kill_hanging(pid_t program) {
    auto processes = descendants_of(program);
    Judge::violation("hangs", describe(program));
    for (const ProcessInfo& process : processes) Judge::violation("hangs", describe(process.pid));
    kill(program, SIGKILL);
    for (const ProcessInfo& process : processes) kill(process.pid, SIGKILL);
}

} // namespace

Outcome run(const Scenario& scenario, const std::optional<Plan>& plan, Demand demand,
            std::chrono::seconds limit, const std::function<void()>& prepare) {
    // Reads the program's debugging information once, and not in each run for the name of a task.
    static const std::string name = detail::function_name(reinterpret_cast<const void*>(&square));
    Board& board = test::board();
    clear_board(plan);
    board.first_child = scenario.first_child;
    const Shared<Gate> gate;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t pid = fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) be_program(scenario, demand, gate, prepare);
    const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (!ends_within(pidfd, limit)) kill_hanging(pid);
    close(pidfd);
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status)) {
        Judge::violation("the program", "died of signal " + std::to_string(WTERMSIG(status)));
    } else if (WEXITSTATUS(status) != 0) {
        Judge::violation("the program", "exited with " + std::to_string(WEXITSTATUS(status)));
    }
    await_no_children({});
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    return {.violations = findings(), .injected = board.injected};
}

} // namespace prong::test
