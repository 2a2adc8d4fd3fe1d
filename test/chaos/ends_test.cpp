// The supervisor, or the program that has made the pool, is hit at a random instant while tasks of
// all kinds run and workers are hit, too.

#include "chaos/round.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <sys/prctl.h>
#include <sys/wait.h>

#include <prong/detail/names.hpp>

#include <bit>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>

using namespace prong::test;

namespace {

std::chrono::microseconds some_time(Random& random) {
    return std::chrono::microseconds(up_to(random, one_in(random, 4) ? 200'000 : 20'000));
}

/// Signals that do nothing to a supervisor, then the one that ends it.
std::uint64_t kill_supervisor(const prong::os::PidFd& supervisor, Random& random) {
    std::uint64_t signals = 1;
    for (; one_in(random, 2); ++signals) {
        constexpr std::array harmless{SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGPIPE};
        prong::os::send_signal(supervisor, harmless[random() % harmless.size()]);
        std::this_thread::sleep_for(some_time(random) / 10);
    }
    if (one_in(random, 2)) {
        prong::os::send_signal(supervisor, SIGSTOP);
        std::this_thread::sleep_for(some_time(random) / 10);
        if (one_in(random, 2)) prong::os::send_signal(supervisor, SIGCONT);
        ++signals;
    }
    prong::os::send_signal(supervisor, SIGKILL);
    return signals;
}

/// A pool loses its supervisor: every task has an end, and nothing is left.
Tally lose_supervisor(std::uint64_t seed, Findings& findings) {
    Random random(seed);
    const auto before = Holdings::now();
    Circumstances circumstances;
    circumstances.kills = true;
    circumstances.breaks = true;
    circumstances.tasks_fork = false;
    Judge judge(circumstances, findings);
    Tally tally;
    {
        const auto options = random_options(random);
        GatedPool pool(random_workers(random), options);
        const auto supervisor = prong::os::PidFd::of(pool.supervisor());
        std::optional<Adversary> adversary(std::in_place, pool.supervisor(), pool.state().control(),
                                           Adversary::Manner{}, random());
        std::deque<Driver> drivers;
        for (std::uint32_t i = 0; i <= random() % 3; ++i)
            drivers.emplace_back(pool, circumstances, judge, findings, random(), i);
        const auto until = std::chrono::steady_clock::now() + 20s;
        {
            std::vector<std::jthread> threads;
            for (Driver& driver : drivers) threads.emplace_back([&] { driver.drive(until); });
            std::this_thread::sleep_for(some_time(random));
            adversary->calm_down(); // it knows its victims by their parent
            tally.signals = adversary->signals();
            adversary.reset();
            tally.signals += kill_supervisor(supervisor, random);
        }
        for (Driver& driver : drivers) driver.finish();
        try {
            pool.submit(square, 1);
            findings.require(false, "a pool without supervisor takes work");
        } catch (const BrokenProcessPool&) {
        }
        if (one_in(random, 2)) pool.end();
        tally.tasks = judge.tasks();
    }
    const std::string left = leaks_since(before, 20s);
    findings.require(left.empty(), "left behind:\n" + left);
    return tally;
}

/// What a program reports to the process that kills it.
struct Board {
    std::atomic<std::uint64_t> tasks = 0;
    std::atomic<std::uint64_t> signals = 0;
    std::atomic<std::uint64_t> violations = 0;
    std::atomic<pid_t> supervisor = 0;
    std::atomic<bool> ready = false; ///< to be killed: no handler of Catch2's is there any more
};

/// A program that makes one pool after the other, until it is killed.
[[noreturn]] void be_program(std::uint64_t seed, Board& board, bool tasks_fork) {
    for (int signal = 1; signal < NSIG; ++signal) std::signal(signal, SIG_DFL);
    board.ready = true;
    Random random(seed);
    for (;;) {
        Findings findings;
        Tally tally;
        const Round round{
            .seed = random(),
            .time = std::chrono::duration_cast<std::chrono::milliseconds>(some_time(random)),
            .tasks_fork = tasks_fork,
            .supervisor = &board.supervisor};
        tally += play(round, findings);
        board.tasks += tally.tasks;
        board.signals += tally.signals;
        board.violations += findings.count();
        std::cerr << findings.text() << std::flush;
    }
}

bool nobody_left() {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return children_of(getpid()).empty();
}

/// Kills a program, sometimes together with its pool's supervisor.
Tally lose_program(std::uint64_t seed, Findings& findings) {
    Random random(seed);
    const Shared<Board> board;
    const bool both = one_in(random, 4); // then no process ends what tasks have started
    const pid_t program = fork();
    if (program == 0) be_program(random(), *board, !both);
    if (program < 0) throw std::runtime_error("fork");
    const auto held = prong::os::PidFd::of(program);
    if (!eventually([&] { return board->ready.load(); })) throw std::runtime_error("no program");
    std::this_thread::sleep_for(some_time(random) * 5);
    constexpr std::array deadly{SIGKILL, SIGKILL, SIGTERM, SIGSEGV, SIGABRT};
    if (one_in(random, 3)) kill(program, SIGSTOP);
    const pid_t number = both ? board->supervisor.load() : 0;
    const auto supervisor = number == 0 ? prong::os::PidFd() : hold_child(number, program, held);
    if (supervisor) prong::os::send_signal(supervisor, one_in(random, 2) ? SIGSTOP : SIGKILL);
    const int signal = deadly[random() % deadly.size()];
    kill(program, signal);
    kill(program, SIGCONT);
    if (supervisor) prong::os::send_signal(supervisor, SIGKILL);
    // One that was stopped before its first instruction has not asked to die with its supervisor.
    // The kernel continues it if its new parent is of another session, unlike this process.
    const bool gone = eventually([] {
        for (const ProcessInfo& process : descendants_of(getpid())) kill(process.pid, SIGCONT);
        return nobody_left();
    });
    std::string left;
    for (const ProcessInfo& process : descendants_of(getpid())) {
        left += " " + process.name + " (" + process.state + ")";
        kill(process.pid, SIGKILL);
    }
    findings.require(gone, "left behind by a program that signal " + std::to_string(signal) +
                               " has ended" + (supervisor ? " with its supervisor" : "") + ":" +
                               left);
    findings.require(board->violations == 0, "violations in a program");
    return {.tasks = board->tasks, .signals = board->signals + 1};
}

template <typename Play>
void repeat(const std::string& what, std::chrono::milliseconds time, Play play) {
    // A name takes long to look up for the first time; so not in each program again.
    static_cast<void>(prong::detail::function_name(std::bit_cast<const void*>(&run)));
    Findings findings;
    Tally tally;
    Random random(test_seed());
    std::uint64_t rounds = 0;
    const auto until = std::chrono::steady_clock::now() + time;
    // On a busy machine no task may have ended in that time.
    while (findings.hold() && (std::chrono::steady_clock::now() < until || tally.tasks == 0)) {
        tally += play(random(), findings);
        ++rounds;
    }
    print(what + " " + std::to_string(rounds) + " times", tally, findings);
    CHECK(findings.text() == "");
    CHECK(tally.tasks > 0);
}

} // namespace

TEST_CASE("the supervisor is killed at random: every task ends, and no process is left") {
    repeat("supervisor killed", chaos_time(2s, 60s), lose_supervisor);
}

TEST_CASE("the program is killed at random: nothing is left of its pool") {
    prctl(PR_SET_CHILD_SUBREAPER, 1); // to find and reap what was left
    repeat("program killed", chaos_time(2s, 60s), lose_program);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}
