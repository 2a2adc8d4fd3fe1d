// What process pools elsewhere have hung, crashed or lied on. Which test stands for which of these
// traps: test/README.md.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>
#include <random>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::PoolShutdown;

namespace {

constexpr std::size_t mebibyte = 1 << 20;

std::size_t length_of(std::string_view text) {
    return text.size();
}

enum class Mishap { exits, throws, crashes };
enum class Moment {
    encoding_arguments,
    decoding_arguments,
    running,
    encoding_result,
    decoding_result,
};

constexpr int exit_code = 7;

void cause(Mishap mishap) {
    if (mishap == Mishap::exits) std::exit(exit_code);
    if (mishap == Mishap::crashes) raise(SIGSEGV);
    throw std::domain_error("mishap");
}

/// Argument and result of a task to which something happens at one moment.
struct Fateful {
    Mishap mishap = Mishap::exits;
    Moment moment = Moment::running;
    bool is_result = false;
    std::string ballast; // written and read before it happens

    template <typename Archive>
    void save(Archive& archive) const {
        archive(mishap, moment, is_result, ballast);
        if (moment == (is_result ? Moment::encoding_result : Moment::encoding_arguments))
            cause(mishap);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(mishap, moment, is_result, ballast);
        if (moment == (is_result ? Moment::decoding_result : Moment::decoding_arguments))
            cause(mishap);
    }
};

Fateful pass_on(const Fateful& fateful) {
    if (fateful.moment == Moment::running) cause(fateful.mishap);
    Fateful result = fateful;
    result.is_result = true;
    return result;
}

int exitcode_of(Mishap mishap) {
    return mishap == Mishap::exits ? exit_code : -SIGSEGV;
}

/// Encoding waits before the gate when it is half done.
struct Slow {
    static inline Gate* gate = nullptr;
    std::string half;

    template <typename Archive>
    void save(Archive& archive) const {
        archive(half);
        gate->pass();
        archive(half);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(half, half);
    }
};

/// Kills all workers while it is being encoded.
struct Murderous {
    std::string ballast;

    template <typename Archive>
    void save(Archive& archive) const {
        archive(ballast);
        const pid_t supervisor = supervisor_of(getpid());
        for (const pid_t worker : workers_of(supervisor)) kill(worker, SIGKILL);
        archive(ballast);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(ballast, ballast);
    }
};

/// An exception that can be sent, but not rebuilt; or not even sent.
struct Unruly : std::runtime_error {
    Unruly() : std::runtime_error("unruly") {}
    explicit Unruly(Mishap how, bool when_saved)
        : std::runtime_error("unruly"), mishap(how), saving(when_saved) {}

    Mishap mishap = Mishap::throws;
    bool saving = false;

    template <typename Archive>
    void save(Archive& archive) const {
        if (saving) cause(mishap);
        archive(mishap, saving);
    }
    template <typename Archive>
    void load(Archive& archive) {
        archive(mishap, saving);
        cause(mishap);
    }
};

/// Returns whether all children have ended and are reaped; for a test that is a subreaper.
bool nobody_left() {
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    return children_of(getpid()).empty();
}

/// While it lives, this process finds and reaps what others have left.
class Subreaper {
public:
    Subreaper() { prctl(PR_SET_CHILD_SUBREAPER, 1); }
    Subreaper(const Subreaper&) = delete;
    Subreaper& operator=(const Subreaper&) = delete;
    ~Subreaper() { prctl(PR_SET_CHILD_SUBREAPER, 0); }
};

} // namespace

TEST_CASE("exit, error or crash while arguments or result are encoded or decoded, or in between") {
    const auto mishap = GENERATE(Mishap::exits, Mishap::throws, Mishap::crashes);
    const auto moment = GENERATE(Moment::encoding_arguments, Moment::decoding_arguments,
                                 Moment::running, Moment::encoding_result, Moment::decoding_result);
    const auto size = GENERATE(std::size_t{0}, mebibyte);
    CAPTURE(mishap, moment, size);
    const Fateful fateful{mishap, moment, false, std::string(size, 'x')};
    const bool in_program =
        moment == Moment::encoding_arguments || moment == Moment::decoding_result;
    if (in_program && mishap != Mishap::throws) { // the program itself ends
        const Subreaper subreaper;
        const auto result = run_in_child([&] {
            ProcessPoolExecutor pool(2);
            pool.submit(pass_on, fateful).get();
            return 0;
        });
        CHECK(result.exitcode == exitcode_of(mishap));
        CHECK(eventually(nobody_left));
        return;
    }
    ProcessPoolExecutor pool(2);
    for (int i = 0; i < 3; ++i) {
        Future<int> beside = pool.submit(square, i);
        const auto run = [&] { static_cast<void>(pool.submit(pass_on, fateful).get()); };
        if (mishap == Mishap::throws) {
            CHECK_THROWS_AS(run(), std::domain_error);
        } else {
            try {
                run();
                FAIL("no error");
            } catch (const WorkerDied& death) {
                CHECK(death.exitcode() == exitcode_of(mishap));
            }
        }
        CHECK(beside.get() == i * i);
        CHECK(pool.submit(square, i + 1).get() == (i + 1) * (i + 1));
    }
}

TEST_CASE("a worker is killed while it writes a result, small or large") {
    const Shared<Gate> gate;
    Slow::gate = gate.get();
    ProcessPoolExecutor pool(1);
    for (const std::size_t size : {std::size_t{10}, 100 * std::size_t{1024}, 8 * mebibyte}) {
        gate->close();
        const int before = gate->arrivals();
        const auto make = [](std::size_t n) { return Slow{std::string(n, 'x')}; };
        auto future = pool.submit(make, size);
        REQUIRE(gate->await_arrivals(before + 1));
        kill(workers_of(supervisor_of(getpid())).front(), SIGKILL);
        CHECK(error_of<WorkerDied>(future).signal() == SIGKILL);
        gate->open();
        CHECK(pool.submit(make, size).get().half.size() == size);
    }
}

TEST_CASE("workers die while the program writes a large task") {
    ProcessPoolExecutor pool(2);
    const auto size_of = [](const Murderous& argument) { return argument.ballast.size(); };
    for (const std::size_t size : {std::size_t{10}, mebibyte, 16 * mebibyte}) {
        auto beside = pool.submit(sleep_for_ever);
        REQUIRE(eventually([&] { return beside.running(); }));
        CHECK(pool.submit(size_of, Murderous{std::string(size, 'x')}).get() == size);
        CHECK(error_of<WorkerDied>(beside).signal() == SIGKILL);
    }
}

TEST_CASE("an exception that cannot be decoded, or not be encoded, is an error all the same") {
    prong::register_exception<Unruly>();
    ProcessPoolExecutor pool(1);
    const auto misbehave = [](Mishap mishap, bool saving) { throw Unruly(mishap, saving); };
    const int worker = pool.submit(pid_of_worker).get();
    for (const bool saving : {false, true}) {
        for (int i = 0; i < 3; ++i) {
            auto future = pool.submit(misbehave, Mishap::throws, saving);
            CHECK_THAT(error_of<prong::RemoteError>(future).what(), Catch::Contains("unruly"));
        }
    }
    CHECK(pool.submit(pid_of_worker).get() == worker);
    auto deadly = pool.submit(misbehave, Mishap::crashes, true);
    CHECK(error_of<WorkerDied>(deadly).signal() == SIGSEGV);
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("workers that make room for others do so after shutdown, too") {
    const Shared<Counter> runs;
    std::vector<Future<int>> futures;
    {
        ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_tasks_per_worker = 3});
        for (int i = 0; i < 200; ++i) futures.push_back(pool.submit(count_up(runs)));
        pool.shutdown(false);
        CHECK_THROWS_AS(pool.submit(square, 1), PoolShutdown);
        for (std::size_t i = 0; i < 100; ++i) CHECK(futures[i].get() < 200);
    }
    CHECK(*runs == 200);
    for (std::size_t i = 100; i < 200; ++i) CHECK(futures[i].get() < 200);
}

TEST_CASE("submit, shutdown and crashes at the same time") {
    const int rounds = how_often(20, 1000);
    std::mt19937_64 random(test_seed());
    for (int round = 0; round < rounds; ++round) {
        std::atomic<int> wrong = 0;
        std::atomic<int> submitted = 0;
        ProcessPoolExecutor pool(1 + round % 4);
        std::vector<std::jthread> threads;
        for (int t = 0; t < 3; ++t) {
            threads.emplace_back([&, t] {
                std::vector<Future<int>> futures;
                try {
                    for (int i = 0; i < 500; ++i, ++submitted) {
                        if (i % 10 == t)
                            futures.push_back(pool.submit([] { return raise(SIGKILL); }));
                        futures.push_back(pool.submit(square, i));
                    }
                } catch (const PoolShutdown&) {
                }
                for (auto& future : futures) {
                    try {
                        future.get();
                    } catch (const WorkerDied& death) {
                        wrong += death.signal() == SIGKILL ? 0 : 1;
                    } catch (const CancelledError&) {
                        wrong += round % 2 == 1 ? 0 : 1;
                    }
                }
            });
        }
        const auto after = static_cast<int>(random() % 300);
        while (submitted < after) std::this_thread::yield();
        pool.shutdown(round % 3 == 0, round % 2 == 1);
        threads.clear();
        REQUIRE(wrong == 0);
    }
}

TEST_CASE("shutdown ends every wait of other threads") {
    const bool cancels = GENERATE(false, true);
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_pending = 3});
    auto held = occupy(pool, gate);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(square, i));
    std::atomic<int> ended = 0;
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { // waits for room
        try {
            static_cast<void>(pool.submit(square, 5));
        } catch (const PoolShutdown&) {
            ++ended;
        }
    });
    threads.emplace_back([&] {
        futures[0].wait();
        ++ended;
    });
    threads.emplace_back([&] {
        prong::wait(std::span(futures).subspan(1));
        ++ended;
    });
    threads.emplace_back([&] {
        for (auto& future : prong::as_completed(held)) ended += future.done() ? 1 : 0;
    });
    pool.shutdown(false, cancels);
    CHECK(eventually([&] { return ended >= (cancels ? 3 : 1); }));
    gate->open();
    threads.clear();
    CHECK(ended == 4);
    pool.shutdown();
    for (int i = 0; i < 3; ++i) {
        auto& future = futures[static_cast<std::size_t>(i)];
        if (cancels)
            CHECK_THROWS_AS(future.get(), CancelledError);
        else
            CHECK(future.get() == i * i);
    }
}

TEST_CASE("an initializer that never returns does not keep the pool from ending") {
    const Shared<Gate> gate;
    std::optional<ProcessPoolExecutor> pool(
        std::in_place, PoolOptions{.max_workers = 2, .initializer = [&] { gate->pass(); }});
    auto future = pool->submit(square, 3);
    REQUIRE(gate->await_arrivals(2));
    SECTION("shutdown_for") {
        CHECK_FALSE(pool->shutdown_for(10ms));
    }
    SECTION("terminate_workers") {
        pool->terminate_workers();
    }
    SECTION("kill_workers") {
        pool->kill_workers();
    }
    pool.reset();
    CHECK_THROWS_AS(future.get(), CancelledError);
}

TEST_CASE("an initializer that loops is replaced when its worker is killed") {
    const Shared<Counter> starts;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .initializer = [&] {
                                             if (++*starts < 4) sleep_for_ever();
                                         }});
    auto future = pool.submit(square, 3);
    for (int i = 1; i < 4; ++i) {
        REQUIRE(eventually([&] { return *starts == i; }));
        for (const pid_t worker : workers_of(supervisor_of(getpid()))) kill(worker, SIGKILL);
    }
    CHECK(future.get() == 9);
}

TEST_CASE("when the supervisor is killed, workers that have given up their user end, too") {
    if (geteuid() != 0) {
        WARN("may not become another user: not tested");
        return;
    }
    const bool in_initializer = GENERATE(true, false);
    const bool busy = GENERATE(true, false);
    CAPTURE(in_initializer, busy);
    const Shared<Gate> gate;
    const auto give_up_user = [] { static_cast<void>(setuid(65534) == 0); };
    PoolOptions options{.max_workers = 1};
    if (in_initializer) options.initializer = give_up_user;
    ProcessPoolExecutor pool(options);
    if (!in_initializer) pool.submit(give_up_user).get();
    CHECK(pool.submit([] { return static_cast<int>(geteuid()); }).get() == 65534);
    std::vector<Future<int>> held;
    if (busy) held = occupy(pool, gate);
    const pid_t supervisor = supervisor_of(getpid());
    const auto workers = workers_of(supervisor);
    REQUIRE(workers.size() == 1);
    kill(supervisor, SIGKILL);
    if (busy) CHECK_THROWS_AS(held[0].get(), BrokenProcessPool);
    CHECK_THROWS_AS(
        [&] {
            for (;;) pool.submit(square, 1).get();
        }(),
        BrokenProcessPool);
    if (!in_initializer) gate->open();
    CHECK(eventually([&] { return !is_running(workers[0]); }));
    kill(workers[0], SIGKILL);
}

TEST_CASE("workers that kill one another harm no task but their own") {
    ProcessPoolExecutor pool(4);
    const auto kill_neighbours = [](int n) {
        for (const ProcessInfo& process : children_of(getppid())) {
            if (process.pid != getpid()) kill(process.pid, SIGKILL);
        }
        return n;
    };
    std::vector<Future<int>> killers;
    std::vector<Future<int>> patient;
    for (int i = 0; i < 40; ++i) {
        killers.push_back(pool.submit(kill_neighbours, i));
        for (int k = 0; k < 10; ++k)
            patient.push_back(pool.with(TaskOptions{.max_retries = 1000}).submit(square, k));
    }
    for (int i = 0; i < 40; ++i) {
        int result = i;
        int signal = SIGKILL;
        try {
            result = killers[static_cast<std::size_t>(i)].get();
        } catch (const WorkerDied& death) {
            signal = death.signal();
        }
        CHECK(result == i);
        CHECK(signal == SIGKILL);
    }
    for (std::size_t i = 0; i < patient.size(); ++i)
        CHECK(patient[i].get() == static_cast<int>(i % 10 * (i % 10)));
}

TEST_CASE("tasks with large arguments and results are killed, timed out and cancelled") {
    ProcessPoolExecutor pool(2);
    const std::string large(4 * mebibyte, 'x');
    const auto hang = [](const std::string& text) {
        sleep_for_ever();
        return text;
    };
    const auto echo = [](const std::string& text) { return text; };
    std::mt19937_64 random(test_seed());
    for (int round = 0; round < 30; ++round) {
        auto timed = pool.with(TaskOptions{.timeout = 5ms, .grace = 0ms}).submit(hang, large);
        auto unwanted = pool.submit(hang, large);
        auto queued = pool.submit(echo, large);
        auto wanted = pool.submit(echo, large);
        static_cast<void>(pool.submit(length_of, large).done());
        const bool cancelled = queued.cancel();
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 5000));
        REQUIRE(unwanted.kill());
        CHECK_THROWS_AS(unwanted.get(), CancelledError);
        CHECK_THROWS_AS(timed.get(), prong::TaskTimeout);
        CHECK(wanted.get() == large);
        if (cancelled)
            CHECK_THROWS_AS(queued.get(), CancelledError);
        else
            CHECK(queued.get() == large);
    }
}

TEST_CASE("more tasks than workers run out of time, one after the other") {
    ProcessPoolExecutor pool(2);
    std::vector<Future<void>> futures;
    for (int i = 0; i < 20; ++i) {
        futures.push_back(
            pool.with(TaskOptions{.timeout = 5ms, .grace = 0ms}).submit(sleep_for_ever));
    }
    auto last = pool.submit(square, 3);
    for (auto& future : futures) CHECK_THROWS_AS(future.get(), prong::TaskTimeout);
    CHECK(last.get() == 9);
}

TEST_CASE("an idle pool does nothing") {
    if (std::system("strace -o /dev/null true 2>/dev/null") != 0) {
        WARN("strace is missing or not allowed here: not tested");
        return;
    }
    const TempDir folder;
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(3);
    {
        auto held = occupy(pool, gate);
        gate->open();
        results_of(held);
        pool.with(TaskOptions{.timeout = 60s, .capture_output = true}).submit(square, 3).get();
    }
    const pid_t supervisor = supervisor_of(getpid());
    std::string command = "timeout -s INT 0.5 strace -o '" + (folder.path() / "trace").string() +
                          "' -f -p " + std::to_string(supervisor);
    for (const pid_t worker : workers_of(supervisor)) command += " -p " + std::to_string(worker);
    command += " 2>/dev/null";
    // A line for each process: the call in which it was found, and from which it does not return.
    std::string trace;
    const auto nothing_done = [&] {
        static_cast<void>(std::system(command.c_str()));
        std::ifstream file(folder.path() / "trace");
        std::map<std::string, int> lines;
        trace.clear();
        for (std::string pid, rest; file >> pid && std::getline(file, rest); ++lines[pid])
            trace += pid + rest + "\n";
        return lines.size() == 4 &&
               std::ranges::all_of(lines, [](const auto& line) { return line.second == 1; });
    };
    const bool quiet = eventually(nothing_done);
    INFO(trace);
    CHECK(quiet);
    CHECK(pool.submit(square, 4).get() == 16);
}
