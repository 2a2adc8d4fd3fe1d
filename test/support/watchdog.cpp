#include "support/watchdog.hpp"

#include "support/processes.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iostream>

namespace prong::test {
namespace {

// What the handler needs is made ready before: it may interrupt a thread that holds any lock.
std::string notice;
std::array<char, 16> own_pid{};
timer_t timer{};
bool armed = false;

[[noreturn]] void on_deadline(int) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, notice.data(), notice.size());
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); // let the debugger in where Yama would not
    const pid_t dumper = _Fork();              // fork() is not async-signal-safe
    if (dumper == 0) {
        execl("/proc/self/exe", "dump-stacks", dump_stacks_option, own_pid.data(), nullptr);
        _exit(127);
    }
    while (dumper > 0 && waitpid(dumper, nullptr, 0) == -1 && errno == EINTR) {
    }
    std::signal(SIGABRT, SIG_DFL);
    std::abort();
}

int deadline_seconds() {
    const char* const text = std::getenv("PRONG_TEST_DEADLINE_S");
    return text == nullptr ? 120 : std::atoi(text);
}

std::string first_line(const std::filesystem::path& path) {
    std::string line;
    std::getline(std::ifstream(path) >> std::ws, line);
    return line;
}

/// Prints where each thread sleeps, which the kernel shows without a debugger.
void print_threads(pid_t pid) {
    std::error_code gone;
    const std::filesystem::path tasks = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& task : std::filesystem::directory_iterator(tasks, gone)) {
        std::cerr << "  thread " << task.path().filename().string() << " ("
                  << first_line(task.path() / "comm") << ") in "
                  << first_line(task.path() / "wchan") << ", system call "
                  << first_line(task.path() / "syscall") << "\n";
    }
    std::cerr.flush();
}

void print_stacks(pid_t pid) {
    const std::string number = std::to_string(pid);
    const std::string command = "if command -v gdb; then timeout 30 gdb -nx -batch -p " + number +
                                " -ex 'thread apply all backtrace 40'; "
                                "elif command -v eu-stack; then timeout 30 eu-stack -p " +
                                number +
                                "; else echo '  (gdb would show more)'; fi </dev/null 2>&1 | "
                                "grep -v -e '^\\[New LWP' -e '^warning:' >&2";
    [[maybe_unused]] const int status = std::system(command.c_str());
}

} // namespace

Watchdog::Watchdog(const std::string& test_name) {
    const int seconds = deadline_seconds();
    if (seconds <= 0) return;
    notice = "\n*** \"" + test_name + "\" has not ended after " + std::to_string(seconds) +
             " s (PRONG_TEST_DEADLINE_S); the stacks of its processes:\n";
    std::strncpy(own_pid.data(), std::to_string(getpid()).c_str(), own_pid.size() - 1);
    struct sigaction action {};
    action.sa_handler = on_deadline;
    action.sa_flags = SA_RESTART;
    sigaction(SIGRTMAX, &action, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGRTMAX;
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) return;
    armed = true;
    itimerspec when{};
    when.it_value.tv_sec = seconds;
    timer_settime(timer, 0, &when, nullptr);
}

Watchdog::~Watchdog() {
    if (armed) timer_delete(timer);
    armed = false;
}

void dump_stacks(pid_t pid) {
    const auto descendants = descendants_of(pid);
    alarm(120); // the dump itself must not hang either
    print_threads(pid);
    print_stacks(pid);
    for (const ProcessInfo& process : descendants) {
        if (process.pid == getpid()) continue;
        std::cerr << "--- process " << process.pid << " (" << process.name << ", state "
                  << process.state << "), child of " << process.parent << "\n";
        print_threads(process.pid);
        print_stacks(process.pid);
    }
    for (const ProcessInfo& process : descendants) {
        if (process.pid != getpid()) kill(process.pid, SIGKILL);
    }
}

} // namespace prong::test
