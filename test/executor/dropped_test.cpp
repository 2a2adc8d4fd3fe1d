// Dropped futures: results that no call can take any more keep no memory, also in an idle pool.

#include "executor/helpers.hpp"
#include "executor/thread_pool.hpp"
#include "ring/fixture.hpp"
#include "support/catch.hpp"

#include <sys/stat.h>

#include <optional>
#include <string>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

constexpr std::size_t large = 200'000;

/// How much of a pool's memory is there.
class Touched {
public:
    explicit Touched(ThreadPool& pool) : memory_(pool.state().region.release_descriptor()) {}

    [[nodiscard]] std::size_t bytes() const {
        struct stat status {};
        REQUIRE(fstat(memory_.get(), &status) == 0);
        return static_cast<std::size_t>(status.st_blocks) * 512;
    }

private:
    prong::base::UniqueFd memory_;
};

enum class Moment { before_it_runs, while_it_runs, when_it_has_ended };

/// The work of a worker that dies: claims a task, and nothing more.
void claim_and_die(ThreadPool& pool, std::uint16_t worker) {
    std::thread([&] { REQUIRE(prong::test::claim(pool.state(), worker)); }).join();
}

/// What the supervisor does then; the worker has crashed in many calls.
void fail_dead(ThreadPool& pool, unsigned worker) {
    auto& crash = pool.state().slot(worker).crash;
    crash.frames.fill(1);
    crash.signal.store(SIGSEGV);
    prong::executor::repair_after_death(pool.state(), worker,
                                        {.exit = {.pid = 4711, .exitcode = -SIGSEGV}});
}

} // namespace

TEST_CASE("the result and the arguments of a dropped future go back without another submit") {
    const auto moment =
        GENERATE(Moment::before_it_runs, Moment::while_it_runs, Moment::when_it_has_ended);
    const bool throws = GENERATE(false, true);
    Gate gate;
    ThreadPool pool(1);
    const Touched touched(pool);
    const std::size_t before = touched.bytes();
    const auto task = with_captures([&gate, throws](const std::string& text) {
        gate.pass();
        if (throws) throw std::runtime_error(text + text);
        return text + text;
    });
    constexpr int count = 5;
    std::vector<Future<std::string>> futures;
    for (int i = 0; i < count; ++i) futures.push_back(pool.submit(task, std::string(large, 'x')));
    CHECK(touched.bytes() > before + count * large);
    if (moment == Moment::before_it_runs) futures.clear();
    pool.start(0);
    REQUIRE(gate.await_arrivals(1));
    if (moment == Moment::while_it_runs) futures.clear();
    gate.open();
    if (moment == Moment::when_it_has_ended) {
        for (const auto& future : futures) future.wait();
        futures.clear();
    }
    REQUIRE(eventually([&] { return pool.core().stats().finished == count; }));
    const bool had_ended = moment == Moment::when_it_has_ended; // kept for others until trimmed
    if (!had_ended) CHECK(touched.bytes() < before + large);
    CHECK(pool.state().payload.usage().owned == (had_ended ? 0 : count));
    CHECK(pool.submit(square, 3).get() == 9);
}

TEST_CASE("a dropped future's failure_report takes no block, nor do its arguments stay") {
    const bool before_claim = GENERATE(true, false);
    ThreadPool pool(1);
    const Touched touched(pool);
    std::optional<Future<std::string>> future =
        pool.submit([](std::string text) { return text; }, std::string(large, 'x'));
    const std::size_t before = touched.bytes();
    if (before_claim) future.reset();
    claim_and_die(pool, 0);
    future.reset();
    fail_dead(pool, 0);
    CHECK(pool.state().payload.usage().owned == 1); // that of the arguments, until the next submit
    CHECK(touched.bytes() < before - large / 2);
}

TEST_CASE("a future that is dropped after a crash, or after it was cancelled, leaves nothing") {
    ThreadPool pool(1);
    const auto echo = [](std::string text) { return text; };
    {
        auto crashed = pool.submit(echo, std::string(large, 'x'));
        auto cancelled = pool.submit(echo, std::string(large, 'x'));
        CHECK(cancelled.cancel());
        claim_and_die(pool, 0);
        fail_dead(pool, 0);
        CHECK(crashed.done());
        CHECK(pool.state().payload.usage().owned == 3);
    }
    CHECK(pool.state().payload.usage().owned == 0);
    static_cast<void>(pool.submit(echo, std::string(large, 'x')));
    pool.drain(true);
    CHECK(pool.state().payload.usage().owned == 0);
}

TEST_CASE("a dropped future's task that is tried again still has its arguments") {
    std::size_t seen = 0;
    ThreadPool pool(2);
    static_cast<void>(pool.with({.max_retries = 1})
                          .submit(with_captures([&seen](const std::string& text) {
                                      seen = text == std::string(large, 'x') ? text.size() : 1;
                                  }),
                                  std::string(large, 'x')));
    claim_and_die(pool, 0);
    fail_dead(pool, 0);
    pool.start(1);
    pool.drain();
    CHECK(seen == large);
}

TEST_CASE("what a dropped map has read, is running or has not been asked for goes back") {
    Gate gate;
    ThreadPool pool(1);
    pool.start(0);
    {
        auto results = pool.map({.chunksize = 1, .lookahead = 20}, with_captures([&gate](int n) {
                                    if (n == 10) gate.pass();
                                    return std::string(large, 'x');
                                }),
                                std::views::iota(0));
        auto it = results.begin();
        CHECK((*it).size() == large);
        ++it;
        REQUIRE(gate.await_arrivals(1));
        CHECK(pool.state().payload.usage().owned == 9);
    }
    gate.open();
    pool.drain();
    CHECK(pool.state().payload.usage().owned == 0);
}
