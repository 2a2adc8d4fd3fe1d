// What dies of a job: its tasks run again elsewhere or end with an error, the job goes on or is
// launched again, and nothing hangs. One host.

#include "mpi/helpers.hpp"
#include "support/catch.hpp"

#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>

using namespace prong::test;
using Catch::Matchers::Contains;

namespace {

constexpr int ranks = 2;

MpiOptions options() {
    return {.workers_per_host = 1, .ranks = ranks, .rank_timeout = 2s};
}

/// Waits until nothing is left of a former job, which might be taken for the next one.
void await_end_of_jobs() {
    const bool none = eventually([] {
        const Job job = Job::now();
        return job.programs.empty() && job.launcher == 0;
    });
    if (!none) throw std::runtime_error("a job does not end");
}

/// Lets a task stand at the gate on each worker, so on each rank.
std::vector<Future<int>> occupy(MpiPoolExecutor& pool, const FileGate& gate, int retries) {
    const std::size_t before = gate.arrivals();
    std::vector<Future<int>> futures;
    for (int i = 0; i < ranks; ++i) {
        futures.push_back(
            pool.with(TaskOptions{.max_retries = retries}).submit(pass, gate.path(), i));
    }
    if (!gate.await_arrivals(before + ranks)) throw std::runtime_error("tasks do not run");
    return futures;
}

/// A program that does not do what a launcher does.
class FakeLauncher {
public:
    explicit FakeLauncher(const std::string& body) {
        const std::string program = std::filesystem::canonical("/proc/self/exe");
        const std::string real = "mpirun." + program.substr(program.rfind('_') + 1);
        std::ofstream(path()) << "#!/bin/sh\ncase $1 in --version) exec " << real
                              << " --version ;; esac\n"
                              << body << "\n";
        chmod(path().c_str(), 0700);
    }
    [[nodiscard]] std::string path() const { return folder_.path() / "mpirun"; }

private:
    TempDir folder_;
};

std::string cause_of_break(MpiPoolExecutor& pool) {
    try {
        pool.submit(square, 2).get();
    } catch (const prong::BrokenProcessPool& error) {
        CHECK_THROWS_AS(pool.submit(square, 3), prong::BrokenProcessPool);
        return error.what();
    }
    return "it has not broken";
}

} // namespace

TEST_CASE("a task whose rank dies ends with RankLost, or runs again elsewhere") {
    MpiPoolExecutor pool(options());
    const FileGate gate;
    auto lost = occupy(pool, gate, 0);
    kill(Job::now().servers.at(0), SIGKILL);
    int count = 0;
    std::vector<Future<int>> retried;
    for (int i = 0; i < 20; ++i)
        retried.push_back(pool.with(TaskOptions{.max_retries = 5}).submit(square, i));
    gate.open();
    for (int i = 0; i < ranks; ++i) {
        try {
            const int value = lost[static_cast<std::size_t>(i)].get();
            CHECK(value == i);
        } catch (const RankLost& error) {
            CHECK(error.host() == host_name());
            CHECK(error.rank() > 0);
            CHECK_THAT(error.what(), Contains("rank") && Contains("pass("));
            ++count;
        }
    }
    CHECK(count >= 1);
    for (int i = 0; i < 20; ++i) CHECK(retried[static_cast<std::size_t>(i)].get() == i * i);
}

TEST_CASE("a job goes on or is launched again, whichever of its processes dies") {
    await_end_of_jobs();
    MpiPoolExecutor pool(options());
    const FileGate gate;
    auto futures = occupy(pool, gate, 5);
    const Job job = Job::now();
    REQUIRE(job.relay != 0);
    REQUIRE(job.launcher != 0);
    const auto [victim, signal] = GENERATE_COPY(table<std::string, int>({
        {"relay", SIGKILL},
        {"launcher", SIGKILL},
        {"launcher", SIGTERM},
        {"servers", SIGKILL},
        {"daemons", SIGKILL},
    }));
    INFO(victim << " " << signal);
    if (victim == "relay") kill(job.relay, signal);
    if (victim == "launcher") kill(job.launcher, signal);
    if (victim == "servers") signal_all(job.servers, signal);
    if (victim == "daemons") signal_all(job.daemons, signal);
    gate.open();
    for (int i = 0; i < ranks; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
    CHECK(retrying(pool).submit(square, 5).get() == 25);
}

TEST_CASE("a rank that does not answer is lost; what it says later counts for nothing") {
    MpiPoolExecutor pool(options());
    const FileGate gate;
    auto futures = occupy(pool, gate, 5);
    const pid_t frozen = Job::now().servers.at(0);
    kill(frozen, SIGSTOP);
    CHECK(eventually([&] { return pool.stats().retried > 0; }));
    kill(frozen, SIGCONT);
    gate.open();
    for (int i = 0; i < ranks; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
    CHECK(retrying(pool).submit(square, 5).get() == 25);
}

TEST_CASE("a pool breaks with the cause when its job may not be launched again") {
    await_end_of_jobs();
    SECTION("because it has been, as often as allowed") {
        MpiOptions once = options();
        once.relaunches = 0;
        MpiPoolExecutor pool(once);
        const FileGate gate;
        auto futures = occupy(pool, gate, 5);
        kill(Job::now().relay, SIGKILL);
        for (auto& future : futures) CHECK_THROWS_AS(future.get(), prong::BrokenProcessPool);
        CHECK_THAT(cause_of_break(pool), Contains("relay") && Contains("SIGKILL"));
    }
    SECTION("because no rank may be lost") {
        MpiOptions strict = options();
        strict.on_rank_loss = prong::OnRankLoss::break_pool;
        MpiPoolExecutor pool(strict);
        const FileGate gate;
        auto futures = occupy(pool, gate, 5);
        kill(Job::now().servers.at(0), SIGKILL);
        for (auto& future : futures) CHECK_THROWS_AS(future.get(), prong::BrokenProcessPool);
        CHECK_THAT(cause_of_break(pool), Contains("rank") || Contains("job"));
    }
}

TEST_CASE("a launcher that does not launch breaks the pool, and nothing hangs") {
    MpiOptions failing = options();
    failing.relaunches = 0;
    failing.launch_timeout = 2s;
    SECTION("because it is not there") {
        failing.launcher = "/no/such/launcher";
        MpiPoolExecutor pool(failing);
        CHECK_THAT(cause_of_break(pool), Contains("/no/such/launcher"));
    }
    SECTION("because it fails") {
        const FakeLauncher launcher("exit 3");
        failing.launcher = launcher.path();
        MpiPoolExecutor pool(failing);
        CHECK_THAT(cause_of_break(pool), Contains(launcher.path()));
    }
    SECTION("because it hangs") {
        const FakeLauncher launcher("exec sleep 1000");
        failing.launcher = launcher.path();
        MpiPoolExecutor pool(failing);
        CHECK_THAT(cause_of_break(pool), Contains("launch_timeout"));
    }
    SECTION("and a shutdown does not wait for it") {
        const FakeLauncher launcher("exec sleep 1000");
        failing.launcher = launcher.path();
        failing.launch_timeout = std::nullopt;
        MpiPoolExecutor pool(failing);
        auto future = pool.submit(square, 2);
        pool.shutdown(true, true);
        CHECK_THROWS_AS(future.get(), prong::CancelledError);
    }
}

TEST_CASE("when the program is killed the whole job ends") {
    const FileGate gate;
    const pid_t program = fork();
    if (program == 0) {
        MpiPoolExecutor pool(options());
        auto futures = occupy(pool, gate, 0);
        append_line(gate.path() + ".ready", "ready");
        sleep_for_ever();
    }
    REQUIRE(eventually([&] { return std::filesystem::exists(gate.path() + ".ready"); }, 1min));
    CHECK(Job::now().servers.size() == ranks);
    kill(program, SIGKILL);
    CHECK(waitpid(program, nullptr, 0) == program);
    CHECK(eventually([] {
        const Job job = Job::now();
        return job.programs.empty() && job.launcher == 0;
    }));
}
