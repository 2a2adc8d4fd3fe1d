// The same executor on several hosts, which the script `hosts` makes; the last of them fail here.

#include "mpi/helpers.hpp"
#include "os/modules.hpp"
#include "support/catch.hpp"

#include <algorithm>
#include <csignal>
#include <map>
#include <set>

using namespace prong::test;
using Catch::Matchers::Contains;

namespace {

const std::vector<std::string> serving{"node2", "node3"};

MpiOptions options() {
    return {.workers_per_host = 2, .hosts = serving, .rank_timeout = 2s};
}

void run(const std::string& command) {
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
}

/// While it lives, the network of the host is disturbed.
class Disturbance {
public:
    Disturbance(const std::string& begin, std::string end) : end_(std::move(end)) { run(begin); }
    Disturbance(const Disturbance&) = delete;
    Disturbance& operator=(const Disturbance&) = delete;
    ~Disturbance() { static_cast<void>(std::system(end_.c_str())); }

private:
    std::string end_;
};

/// Runs a task on each worker, up to the gate; returns the futures.
std::vector<Future<int>> occupy(MpiPoolExecutor& pool, const FileGate& gate, int retries) {
    const std::size_t before = gate.arrivals();
    std::vector<Future<int>> futures;
    for (int i = 0; i < 4; ++i) {
        futures.push_back(
            pool.with(TaskOptions{.max_retries = retries}).submit(pass, gate.path(), i));
    }
    if (!gate.await_arrivals(before + 4)) throw std::runtime_error("tasks do not run");
    return futures;
}

void check_results(std::vector<Future<int>>& futures) {
    for (std::size_t i = 0; i < futures.size(); ++i) CHECK(futures[i].get() == static_cast<int>(i));
}

std::string name_at(const std::string& gate) {
    pass(gate, 0);
    return host_name();
}

int crash() {
    std::raise(SIGSEGV);
    return 0;
}

std::string echo(std::string text) {
    return text;
}

} // namespace

TEST_CASE("tasks run on all hosts, and errors and statistics name the host") {
    REQUIRE(test_hosts().size() == 3);
    MpiPoolExecutor pool(options());
    const FileGate gate;
    std::vector<Future<std::string>> names;
    for (int i = 0; i < 4; ++i) names.push_back(pool.submit(name_at, gate.path()));
    REQUIRE(gate.await_arrivals(4));
    gate.open();
    std::map<std::string, int> found;
    for (auto& name : names) ++found[name.get()];
    CHECK(found == std::map<std::string, int>{{"node2", 2}, {"node3", 2}});

    auto crashed = pool.submit(crash);
    CHECK_THAT(error_of<WorkerDied>(crashed).host(), Contains("node"));
    CHECK(eventually([&] {
        std::map<std::string, int> workers;
        for (const auto& worker : pool.stats().workers) ++workers[worker.host];
        return workers == std::map<std::string, int>{{"node2", 2}, {"node3", 2}};
    }));
    const std::string large(std::size_t{16} << 20, 'x');
    CHECK(pool.submit(echo, large).get() == large);
    int expected = 0;
    for (const int value : pool.map(square, std::views::iota(0, 10'000)))
        expected += value == square(expected) ? 1 : 0;
    CHECK(expected == 10'000);
}

TEST_CASE("a host that is cut off, freezes or dies costs what it ran") {
    MpiPoolExecutor pool(options());
    const FileGate gate;
    auto futures = occupy(pool, gate, 5);
    const auto what = GENERATE(as<std::string>(), "killed", "frozen", "cut off");
    INFO(what);
    const auto processes = processes_of("node3");
    REQUIRE_FALSE(processes.empty());
    {
        std::optional<Disturbance> cut;
        if (what == "killed") signal_all(processes, SIGKILL);
        if (what == "frozen") signal_all(processes, SIGSTOP);
        if (what == "cut off") {
            cut.emplace("ip -n switch link set node3 down", "ip -n switch link set node3 up");
        }
        CHECK(eventually([&] { return pool.stats().retried >= 2; }));
        if (what == "cut off") { // which its rank notices, too
            CHECK(eventually([] {
                return std::ranges::none_of(Job::now().programs,
                                            [](pid_t pid) { return host_of(pid) == "node3"; });
            }));
        }
    }
    signal_all(processes, SIGCONT);
    gate.open();
    check_results(futures);
    CHECK(retrying(pool).submit(square, 5).get() == 25);
}

TEST_CASE("the error of a task on a host that dies names the host") {
    MpiPoolExecutor pool(options());
    const FileGate gate;
    auto futures = occupy(pool, gate, 0);
    signal_all(processes_of("node3"), SIGKILL);
    std::set<std::string> lost;
    gate.open();
    for (auto& future : futures) {
        try {
            future.get();
        } catch (const RankLost& error) {
            lost.insert(error.host());
        }
    }
    CHECK(lost.contains("node3"));
}

TEST_CASE("a host that pauses for less than the timeout loses nothing") {
    MpiOptions patient = options();
    patient.rank_timeout = 30s;
    MpiPoolExecutor pool(patient);
    const FileGate gate;
    auto futures = occupy(pool, gate, 0);
    const auto processes = processes_of("node3");
    signal_all(processes, SIGSTOP);
    auto others = pool.submit_batch(square, std::vector{1, 2, 3});
    signal_all(processes, SIGCONT);
    gate.open();
    check_results(futures);
    CHECK(others[2].get() == 9);
}

TEST_CASE("a slow link slows tasks down, and loses none") {
    MpiPoolExecutor pool(options());
    CHECK(pool.submit(square, 2).get() == 4);
    const Disturbance slow("tc -n switch qdisc add dev node3 root tbf rate 20mbit burst 32kbit "
                           "latency 50ms",
                           "tc -n switch qdisc del dev node3 root");
    const std::string large(std::size_t{1} << 20, 'x');
    std::vector<Future<std::string>> echoes;
    for (int i = 0; i < 20; ++i) echoes.push_back(pool.submit(echo, large));
    for (auto& future : echoes) CHECK(future.get() == large);
}

TEST_CASE("a host that does not answer at start breaks the pool in time") {
    MpiOptions failing = options();
    failing.relaunches = 0;
    failing.launch_timeout = 3s;
    std::optional<Disturbance> cut;
    SECTION("because it does not exist") {
        failing.hosts = {"node2", "node4"};
    }
    SECTION("because it is cut off") {
        cut.emplace("ip -n switch link set node3 down", "ip -n switch link set node3 up");
    }
    MpiPoolExecutor pool(failing);
    auto future = pool.submit(square, 2);
    CHECK_THROWS_AS(future.get(), prong::BrokenProcessPool);
}

TEST_CASE("a host with another build of the program is refused in words") {
    const TempDir folder;
    const std::string program = std::filesystem::canonical("/proc/self/exe");
    const std::string other = folder.path() / "other";
    std::ifstream file(program, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const std::string id = prong::os::program_build_id();
    const std::size_t place = bytes.find(id);
    REQUIRE(place != std::string::npos);
    bytes[place] = static_cast<char>(~bytes[place]);
    std::ofstream(other, std::ios::binary) << bytes;
    std::filesystem::permissions(other, std::filesystem::perms::owner_all);

    MpiOptions failing = options();
    failing.relaunches = 0;
    setenv("PRONG_TEST_REPLACED", ("node3 " + program + " " + other).c_str(), 1);
    MpiPoolExecutor pool(failing);
    const FileGate gate; // else the other host might end the task before
    auto future = pool.submit(pass, gate.path(), 1);
    CHECK_THAT(error_of<prong::BrokenProcessPool>(future).what(),
               Contains("node3") && Contains("build"));
    unsetenv("PRONG_TEST_REPLACED");
}
