// A pool whose counters wrap in the middle of the work, while workers die, tasks are tried again,
// killed, cancelled and run out of time. Workers and supervisor are threads, so that
// ThreadSanitizer sees what happens.

#include "executor/helpers.hpp"
#include "executor/supervisor/limit_monitor.hpp"
#include "executor/thread_pool.hpp"
#include "ring/fixture.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <functional>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;
using prong::Priority;
using prong::executor::Leaving;
using prong::ring::Lane;
using prong::ring::Position;

namespace {

/// Threads that do what worker processes and the supervisor do: a worker that is condemned, or that
/// dies at random after a claim, is repaired and begins anew.
class MortalPool : public BarePool {
public:
    MortalPool(unsigned workers, Position start, std::uint64_t seed) : BarePool(workers) {
        for (const auto lane : {Lane::normal, Lane::high, Lane::low})
            state().lanes[lane].start_at(start);
        for (unsigned worker = 0; worker < workers; ++worker)
            threads_.emplace_back([this, worker, seed] { live(worker, seed + worker); });
        supervisor_ = std::jthread([this](const std::stop_token& stop) { supervise(stop); });
    }
    ~MortalPool() { drain(); }

    void drain() {
        core().shutdown(false, false);
        threads_.clear();
        supervisor_ = {};
    }

    [[nodiscard]] int deaths() const { return deaths_.load(); }

private:
    void live(unsigned worker, std::uint64_t seed) {
        std::mt19937_64 random(seed);
        for (;;) {
            const bool leaves_early = worker == 0 || random() % 2 == 0; // the first dies often
            if (worker == 0 && claim_and_die(worker)) continue;
            const Leaving leaving = prong::executor::run_tasks(
                state(), worker,
                leaves_early ? prong::executor::Recycling{.max_tasks = 1 + random() % 8,
                                                          .max_resident_bytes = {}}
                             : prong::executor::Recycling{});
            fail_dead(worker, leaving == Leaving::condemned ? -SIGKILL : 0);
            const bool awaited =
                prong::ring::retried(state().records, state().slot(worker).intent) != nullptr;
            if (leaving == Leaving::drained && !awaited) return;
        }
    }

    bool claim_and_die(unsigned worker) {
        prong::executor::SharedState& pool = state();
        const auto owner = static_cast<std::uint16_t>(worker);
        prong::ring::WorkerIntent& intent = pool.slot(worker).intent;
        auto claim = prong::ring::claim_retry(pool.records, owner, intent, intent);
        if (!claim) claim = prong::test::claim(pool, owner);
        if (!claim) return false;
        ++deaths_;
        fail_dead(worker, -SIGSEGV);
        return true;
    }

    void fail_dead(unsigned worker, int exitcode) {
        const std::lock_guard lock(supervising_);
        prong::executor::repair_after_death(state(), worker,
                                            {.exit = {.pid = 4711, .exitcode = exitcode}});
        limit_monitor_.forget(worker);
    }

    void supervise(const std::stop_token& stop) {
        while (!stop.stop_requested()) {
            {
                const std::lock_guard lock(supervising_);
                limit_monitor_.look([](unsigned) {}); // a condemned worker finds out by itself
            }
            std::this_thread::sleep_for(500us);
        }
    }

    std::vector<prong::base::UniqueFd> captures_ = std::vector<prong::base::UniqueFd>(64);
    prong::executor::LimitMonitor limit_monitor_{state(), captures_};
    std::mutex supervising_; ///< the supervisor has one thread
    Counter deaths_{0};
    std::vector<std::jthread> threads_;
    std::jthread supervisor_;
};

int run_and_count(Counter* runs, int number, int microseconds) {
    ++*runs;
    if (microseconds != 0) std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
    return number;
}

/// Submits tasks of all kinds, disturbs them, and counts how they end: what must not be, as
/// "wrong".
void work(MortalPool& pool, int count, std::uint64_t seed, std::map<std::string, int>& ends) {
    std::mt19937_64 random(seed);
    std::vector<Counter> runs(static_cast<std::size_t>(count));
    struct Submitted {
        Future<int> future;
        int attempts;
        bool may_be_stopped;
    };
    std::vector<Submitted> tasks;
    for (int i = 0; i < count; ++i) {
        Counter* const place = &runs[static_cast<std::size_t>(i)];
        const auto task = with_captures(
            [place](int number, int time) { return run_and_count(place, number, time); });
        const auto kind = random() % 8;
        if (kind < 4) {
            tasks.push_back({pool.submit(task, i, 0), 1, kind == 0});
        } else {
            const bool is_slow = kind == 7 && random() % 4 == 0;
            TaskOptions options{.grace = 200us,
                                .max_retries = static_cast<int>(random() % 3),
                                .priority = static_cast<Priority>(random() % 3)};
            if (kind >= 6) options.timeout = 500us;
            tasks.push_back({pool.with(options).submit(task, i, is_slow ? 3000 : 0),
                             1 + options.max_retries, kind >= 6});
        }
        if (kind == 0)
            random() % 2 == 0 ? tasks.back().future.cancel() : tasks.back().future.kill();
    }
    for (int i = 0; i < count; ++i) {
        auto& [future, attempts, may_be_stopped] = tasks[static_cast<std::size_t>(i)];
        future.wait();
        const int ran = runs[static_cast<std::size_t>(i)].load();
        bool is_right = ran <= attempts;
        std::string end = "returned";
        try {
            is_right = is_right && future.get() == i && ran >= 1;
        } catch (const CancelledError&) {
            end = "cancelled or killed";
            is_right = is_right && may_be_stopped;
        } catch (const prong::TaskTimeout&) {
            end = "timed out";
            is_right = is_right && may_be_stopped;
        } catch (const WorkerDied&) {
            end = "died";
            is_right = is_right && attempts == 1;
        } catch (const prong::PoisonedTask& error) {
            end = "poisoned";
            is_right = is_right && error.attempts() == attempts;
        }
        ++ends[is_right ? end : "wrong"];
    }
}

/// Lets threads work in pools whose lanes begin there; prints how the tasks ended.
void work_across(Position start, const std::string& what) {
    INFO(what);
    const int rounds = full_run() ? 50 : 2;
    const int count = 300;
    std::map<std::string, int> ends;
    std::mt19937_64 random(test_seed());
    int total = 0;
    for (int round = 0; round < rounds; ++round) {
        MortalPool pool(3, start, random());
        std::array<std::map<std::string, int>, 3> of_threads;
        {
            std::vector<std::jthread> threads;
            for (auto& of_thread : of_threads) {
                threads.emplace_back(
                    [&pool, &of_thread, seed = random()] { work(pool, count, seed, of_thread); });
                total += count;
            }
        }
        for (const auto& of_thread : of_threads)
            for (const auto& [end, times] : of_thread) ends[end] += times;
        CHECK(pool.state().lanes[Lane::normal].tail() > start + 3 * count / 2); // it has wrapped
    }
    CHECK(ends["wrong"] == 0);
    int ended = 0;
    std::cerr << what << ":";
    for (const auto& [end, times] : ends) {
        std::cerr << " " << end << " " << times;
        ended += times;
    }
    std::cerr << "\n";
    CHECK(ended == total);
}

} // namespace

TEST_CASE("tasks end as they should when their numbers wrap") {
    work_across((Position{1} << 32) - 300, "generations");
}

TEST_CASE("tasks end as they should when the lap in the ring's entries wraps") {
    work_across((Position{1} << 43) - 300, "laps"); // 31 bits of laps of 2^12 entries
}

TEST_CASE("tasks end as they should up to the last position there is") {
    work_across((Position{1} << 63) - 1000, "positions");
}
