// An executor whose workers are those of other ranks keeps the promises of an executor. One host.

#include "mpi/environment.hpp"
#include "mpi/helpers.hpp"
#include "support/catch.hpp"

#include <poll.h>

#include <csignal>
#include <map>
#include <numeric>
#include <ranges>
#include <set>

using namespace prong::test;
using Catch::Matchers::Contains;

namespace {

constexpr int ranks = 2;
constexpr int workers = 2; // of each rank

int initialized_with = 0; // in a worker

void initialize(int value) {
    initialized_with = value;
}

MpiOptions options() {
    return {.workers_per_host = workers, .ranks = ranks, .pool = {.initializer = {initialize, 42}}};
}

struct Unusual : std::runtime_error {
    using runtime_error::runtime_error;
};

int fail(const std::string& how) {
    if (how == "standard") throw std::out_of_range("out of it");
    if (how == "unusual") throw Unusual("strange");
    return 0;
}

[[gnu::noinline]] int crash_here(int signal) {
    std::puts("last words");
    std::raise(signal);
    return signal;
}

int sleep_for_long() {
    std::this_thread::sleep_for(1h);
    return 0;
}

int wait_for_stop(const std::stop_token& token, const std::string& gate) {
    append_line(gate + ".arrivals", "here");
    return eventually([&] { return token.stop_requested(); }, 1min) ? 1 : 0;
}

int await_sigterm(const std::string& gate) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    append_line(gate + ".arrivals", "here");
    int signal = 0;
    sigwait(&set, &signal);
    append_line(gate, "signal " + std::to_string(signal));
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    std::raise(signal);
    return 0;
}

void refuse_to_start() {
    throw std::runtime_error("no licence");
}

std::size_t allocate(std::size_t bytes) {
    const std::vector<char> memory(bytes, 'm');
    return std::accumulate(memory.begin(), memory.end(), std::size_t{0});
}

int append_number(const std::string& path, int number) {
    append_line(path, std::to_string(number));
    return number;
}

std::vector<std::uint64_t> reverse(std::vector<std::uint64_t> values) {
    std::ranges::reverse(values);
    return values;
}

std::int64_t time_now() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

int crash_until(int attempt) {
    if (prong::this_task::attempt() < attempt) std::raise(SIGKILL);
    return prong::this_task::attempt();
}

void check_results(MpiPoolExecutor& pool) {
    CHECK(pool.submit(square, 7).get() == 49);
    CHECK(pool.submit([] { return std::string("text"); }).get() == "text");
    CHECK(pool.submit([] { return initialized_with; }).get() == 42);
    CHECK(pool.submit([] { return getppid(); }).get() != getpid());

    int sum = 0;
    for (auto& future : pool.submit_batch(square, std::views::iota(0, 100))) sum += future.get();
    CHECK(sum == 328'350);

    int expected = 0;
    for (const int value : pool.map(square, std::views::iota(0, 5000))) {
        if (value != square(expected)) break;
        ++expected;
    }
    CHECK(expected == 5000);
    auto input = pool.submit([] {
        char byte = 0;
        return read(STDIN_FILENO, &byte, 1);
    });
    CHECK(input.get() == 0); // at its end, whatever the launcher has made of it
    auto is_rank = pool.submit([] { return prong::mpi::launched_rank().has_value(); });
    CHECK_FALSE(is_rank.get()); // so it may start programs that use MPI
}

void check_exceptions(MpiPoolExecutor& pool) {
    auto standard = pool.submit(fail, "standard");
    CHECK(error_of<std::out_of_range>(standard).what() == std::string("out of it"));
    auto unusual = pool.submit(fail, "unusual");
    const auto error = error_of<prong::RemoteError>(unusual);
    CHECK(error.what() == std::string("strange"));
    CHECK_THAT(error.type_name(), Contains("Unusual"));
}

void check_deaths(MpiPoolExecutor& pool) {
    auto crash = pool.with(TaskOptions{.capture_output = true}).submit(crash_here, SIGSEGV);
    const auto died = error_of<WorkerDied>(crash);
    CHECK(died.signal() == SIGSEGV);
    CHECK(died.host() == host_name());
    CHECK(died.pid() > 0);
    CHECK_THAT(died.what(), Contains("SIGSEGV") && Contains("crash_here"));
    CHECK_THAT(died.backtrace(), Contains("crash_here"));
    CHECK(died.last_output() == "last words\n");

    CHECK(pool.with(TaskOptions{.max_retries = 2}).submit(crash_until, 2).get() == 2);
    auto poisoned = pool.with(TaskOptions{.max_retries = 1}).submit(crash_here, SIGKILL);
    CHECK(error_of<prong::PoisonedTask>(poisoned).deaths().size() == 2);
}

void check_limits(MpiPoolExecutor& pool) {
    auto late = pool.with(TaskOptions{.timeout = 100ms}).submit(sleep_for_long);
    CHECK_THROWS_AS(late.get(), prong::TaskTimeout);
    const prong::TaskLimits small{.memory_bytes = std::size_t{64} << 20};
    auto large = pool.with(TaskOptions{.limits = small}).submit(allocate, std::size_t{1} << 30);
    CHECK(error_of<prong::LimitExceeded>(large).kind() == prong::LimitKind::memory);
}

void check_control(MpiPoolExecutor& pool) {
    const FileGate gate;
    std::vector<Future<int>> standing;
    for (int i = 0; i < ranks * workers; ++i) standing.push_back(pool.submit(pass, gate.path(), i));
    REQUIRE(gate.await_arrivals(ranks * workers));

    CHECK(standing[0].running());
    CHECK_FALSE(standing[0].cancel());
    CHECK(standing[0].kill());
    CHECK_THROWS_AS(standing[0].get(), prong::CancelledError);

    auto stopped = pool.submit(wait_for_stop, gate.path());
    REQUIRE(gate.await_arrivals(ranks * workers + 1)); // in the place of what was killed
    CHECK(stopped.request_stop());
    CHECK(stopped.get() == 1);

    gate.open();
    for (int i = 1; i < ranks * workers; ++i)
        CHECK(standing[static_cast<std::size_t>(i)].get() == i);
}

void check_cancel(MpiPoolExecutor& pool) {
    const TempDir folder;
    const std::string file = folder.path() / "numbers";
    std::vector<Future<int>> futures;
    std::set<std::string> cancelled;
    for (int i = 0; i < 2000; ++i) {
        futures.push_back(pool.submit(append_number, file, i));
        auto& one = futures[futures.size() / 2];
        if (i % 3 == 0 && one.cancel()) cancelled.insert(std::to_string(futures.size() / 2));
    }
    int wrong = 0;
    for (std::size_t i = 0; i < futures.size(); ++i) {
        const bool was_cancelled = cancelled.contains(std::to_string(i));
        try {
            wrong += futures[i].get() != static_cast<int>(i) || was_cancelled ? 1 : 0;
        } catch (const prong::CancelledError&) {
            wrong += was_cancelled ? 0 : 1;
        }
    }
    CHECK(wrong == 0);
    const auto run = lines_of(file);
    CHECK(run.size() == futures.size() - cancelled.size());
    CHECK(std::ranges::none_of(run, [&](const auto& line) { return cancelled.contains(line); }));
}

/// Tasks that were sent ahead of long ones come back to the queue, where they can be cancelled and
/// others take them.
void check_recall(MpiPoolExecutor& pool) {
    for (auto& future : pool.submit_batch(square, std::views::iota(0, 20'000))) future.get();
    const FileGate gate;
    std::vector<Future<int>> standing;
    for (int i = 0; i < ranks * workers; ++i) standing.push_back(pool.submit(pass, gate.path(), i));
    auto waiting = pool.submit_batch(square, std::views::iota(0, 1000));
    REQUIRE(gate.await_arrivals(ranks * workers));
    const auto all_queued = [&] { return std::ranges::none_of(waiting, &Future<int>::running); };
    CHECK(eventually(all_queued));
    CHECK(waiting.back().cancel());
    waiting.pop_back();
    CHECK(standing.back().kill()); // makes room at one rank
    CHECK(prong::wait(waiting, prong::ReturnWhen::all_completed, 1min).not_done.empty());
    for (int i = 0; i < 999; ++i)
        if (waiting[static_cast<std::size_t>(i)].get() != square(i)) FAIL("wrong result");
    gate.open();
    standing.pop_back();
    for (auto& future : standing) future.get();
}

void check_priorities(MpiPoolExecutor& pool) {
    const FileGate gate;
    std::vector<Future<int>> occupied;
    for (int i = 0; i < ranks * workers; ++i) occupied.push_back(pool.submit(pass, gate.path(), i));
    REQUIRE(gate.await_arrivals(ranks * workers));
    const auto low = pool.with(TaskOptions{.priority = prong::Priority::low});
    const auto high = pool.with(TaskOptions{.priority = prong::Priority::high});
    std::vector<Future<std::int64_t>> lows;
    for (int i = 0; i < 20'000; ++i) lows.push_back(low.submit(time_now));
    auto urgent = high.submit(time_now);
    gate.open();
    std::int64_t last = 0;
    for (auto& future : lows) last = std::max(last, future.get());
    CHECK(urgent.get() < last);
}

void check_large(MpiPoolExecutor& pool) {
    std::vector<std::uint64_t> values(std::size_t{4} << 20); // 32 MiB
    std::iota(values.begin(), values.end(), 0U);
    auto reversed = pool.submit(reverse, values);
    std::ranges::reverse(values);
    CHECK(reversed.get() == values);
}

int pass_large(const std::string& gate, const std::string& bytes) {
    return pass(gate, static_cast<int>(bytes.size()));
}

/// Each worker may have large arguments at the same time; a task that waits for them can be killed.
void check_large_arguments(MpiPoolExecutor& pool) {
    constexpr int size = 40 << 20;
    const FileGate gate;
    const std::string bytes(size, 'x');
    std::vector<Future<int>> futures;
    for (int i = 0; i < ranks * workers; ++i)
        futures.push_back(pool.submit(pass_large, gate.path(), bytes));
    CHECK(gate.await_arrivals(ranks * workers));
    // The relay holds one more, and the rest stays in the queue.
    auto killed = pool.submit(pass_large, gate.path(), bytes);
    CHECK(eventually([&] { return killed.running(); }));
    auto stopped = pool.submit(pass_large, gate.path(), bytes);
    CHECK(pool.submit(pass_large, gate.path(), bytes).cancel());
    CHECK(killed.kill());
    CHECK_THROWS_AS(killed.get(), prong::CancelledError);
    CHECK(eventually([&] { return stopped.running(); }));
    stopped.request_stop();
    CHECK_THROWS_AS(stopped.get(), prong::CancelledError);
    auto late = pool.with(TaskOptions{.deadline = 3s}).submit(pass_large, gate.path(), bytes);
    CHECK_THROWS_AS(late.get(), prong::TaskTimeout);
    gate.open();
    for (auto& future : futures) CHECK(future.get() == size);
}

void check_waiting(MpiPoolExecutor& pool) {
    const FileGate gate;
    std::vector<Future<int>> futures;
    futures.push_back(pool.submit(pass, gate.path(), 0));
    futures.push_back(pool.submit(square, 3));
    const auto first = prong::wait(futures, prong::ReturnWhen::first_completed, 1min);
    CHECK(first.done == std::vector<std::size_t>{1});
    std::vector<int> order;
    for (auto& future : prong::as_completed(futures, 1min)) {
        order.push_back(future.get());
        if (order.size() == 1) gate.open();
    }
    CHECK(order == std::vector{9, 0});

    pollfd readable{.fd = pool.completion_fd(), .events = POLLIN, .revents = 0};
    auto future = pool.submit(square, 4);
    CHECK(poll(&readable, 1, 60'000) == 1);
    CHECK(future.get() == 16);
}

void check_refusals(MpiPoolExecutor& pool) {
    prong::SharedBuffer<int> buffer(10);
    CHECK_THROWS_AS(pool.submit([](prong::SharedBuffer<int>) {}, std::move(buffer)),
                    std::invalid_argument);
    const prong::Lock lock;
    CHECK_THROWS_AS(pool.submit([](const prong::Lock&) {}, lock), std::invalid_argument);
    auto nested = pool.submit([] { const MpiPoolExecutor no_ranks; });
    CHECK_THROWS_AS(nested.get(), std::logic_error);
}

void check_stats(MpiPoolExecutor& pool) {
    CHECK(eventually([&] {
        const auto stats = pool.stats();
        const auto remote = std::ranges::count_if(
            stats.workers, [](const auto& worker) { return worker.host == host_name(); });
        return remote == ranks * workers && stats.queued == 0 && stats.running == 0;
    }));
    const auto stats = pool.stats();
    CHECK(stats.submitted > 0);
    CHECK(stats.retried > 0);
    CHECK(stats.cancelled > 0);
}

/// A rank whose pool breaks stays in the job to its end, without tasks.
void check_broken_rank(MpiPoolExecutor& pool) {
    auto breaking = pool.submit([] {
        kill(getppid(), SIGKILL); // the rank's supervisor
        return sleep_for_long();
    });
    const auto error = error_of<RankLost>(breaking);
    CHECK_THAT(error.what(), Contains("rank") && Contains("pool is broken"));
    CHECK(pool.submit(square, 7).get() == 49);
    CHECK(eventually([&] {
        const auto stats = pool.stats();
        const auto absent = std::ranges::count(stats.workers, prong::WorkerState::absent,
                                               &prong::WorkerStats::state);
        return absent == workers;
    }));
}

} // namespace

// Under `mpirun` a job is there once, so this is one test case, and the only one that runs so.
TEST_CASE("an executor on other ranks keeps the promises of an executor", "[both_ways]") {
    MpiPoolExecutor pool(options());
    check_results(pool);
    check_exceptions(pool);
    check_deaths(pool);
    check_limits(pool);
    check_control(pool);
    check_cancel(pool);
    check_recall(pool);
    check_priorities(pool);
    check_large(pool);
    check_large_arguments(pool);
    check_waiting(pool);
    check_refusals(pool);
    check_stats(pool);
    check_broken_rank(pool);
    pool.shutdown();
}

TEST_CASE("local workers and those of ranks take tasks from one queue") {
    MpiPoolExecutor pool(MpiOptions{.workers_per_host = 1, .ranks = 1, .local_workers = 1});
    const FileGate gate;
    auto one = pool.submit(pass, gate.path(), 1);
    auto other = pool.submit(pass, gate.path(), 2);
    CHECK(gate.await_arrivals(2)); // each occupies a worker
    gate.open();
    CHECK(one.get() + other.get() == 3);
    CHECK(eventually([&] {
        std::multiset<std::string> hosts;
        for (const auto& worker : pool.stats().workers) hosts.insert(worker.host);
        return hosts == std::multiset<std::string>{"", host_name()};
    }));
}

TEST_CASE("a pool on other ranks can be shut down in every way") {
    MpiPoolExecutor pool(MpiOptions{.workers_per_host = 1, .ranks = 1});
    auto first = pool.submit(square, 2);
    SECTION("while the job is being launched") {
        pool.shutdown();
        CHECK(first.get() == 4);
    }
    SECTION("without waiting") {
        pool.shutdown(false);
        CHECK_THROWS_AS(pool.submit(square, 3), prong::PoolShutdown);
        CHECK(pool.join_for(1min));
        CHECK(first.get() == 4);
    }
    SECTION("with a time limit, while a task hangs") {
        CHECK(first.get() == 4);
        const FileGate gate;
        auto hanging = pool.submit(pass, gate.path(), 1);
        REQUIRE(gate.await_arrivals(1));
        CHECK_FALSE(pool.shutdown_for(100ms));
        CHECK_THROWS_AS(hanging.get(), WorkerDied);
    }
    SECTION("by killing all workers") {
        CHECK(first.get() == 4);
        const FileGate gate;
        auto hanging = pool.submit(pass, gate.path(), 1);
        REQUIRE(gate.await_arrivals(1));
        pool.kill_workers();
        CHECK_THROWS_AS(hanging.get(), WorkerDied);
    }
    CHECK(eventually([] { return Job::now().servers.empty(); }));
}

TEST_CASE("terminate_workers sends the workers of ranks SIGTERM") {
    MpiPoolExecutor pool(MpiOptions{.workers_per_host = 1, .ranks = 1});
    const FileGate gate;
    auto task = pool.submit(await_sigterm, gate.path());
    REQUIRE(gate.await_arrivals(1));
    pool.terminate_workers();
    const auto error = error_of<WorkerDied>(task);
    CHECK(error.signal() == SIGTERM);
    CHECK(error.host() == host_name());
    CHECK(lines_of(gate.path()) == std::vector<std::string>{"signal 15"});
}

TEST_CASE("an initializer that fails at a rank breaks the pool at once, with its words") {
    MpiPoolExecutor pool(
        MpiOptions{.ranks = 1, .relaunches = 10'000, .pool = {.initializer = refuse_to_start}});
    auto future = pool.submit(square, 2);
    CHECK_THAT(error_of<prong::BrokenProcessPool>(future).what(), Contains("no licence"));
}

TEST_CASE("a worker's death at a rank breaks a pool that is to break") {
    MpiPoolExecutor pool(MpiOptions{.ranks = 1,
                                    .relaunches = 10'000,
                                    .pool = {.on_worker_death = prong::OnWorkerDeath::break_pool}});
    auto future = pool.submit(crash_here, SIGSEGV);
    CHECK_THAT(error_of<prong::BrokenProcessPool>(future).what(),
               Contains("SIGSEGV") && Contains(host_name()));
}

TEST_CASE("options of a pool on other ranks that are out of range are refused") {
    using Refused = std::invalid_argument;
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.workers_per_host = 0}), Refused);
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.workers_per_host = 1025}), Refused);
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.ranks = 0}), Refused);
    for (const char* host : {"", "-x", "node1,node2"})
        CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.hosts = {host}}), Refused);
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.relaunches = -1}), Refused);
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.local_workers = -1}), Refused);
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.rank_timeout = 0s}), Refused);
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.rank_timeout = std::nullopt}), Refused);
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.pool = {.max_workers = 2}}), Refused);
    int number = 7;
    CHECK_THROWS_AS(MpiPoolExecutor(MpiOptions{.pool = {.initializer = [&number] { ++number; }}}),
                    Refused);
}
