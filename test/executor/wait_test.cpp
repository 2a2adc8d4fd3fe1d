// Waiting for several futures, and taking them as they complete.

#include "executor/helpers.hpp"
#include "support/catch.hpp"

#include <prong/prong.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace prong::test;
using prong::ReturnWhen;

namespace {

using Positions = std::vector<std::size_t>;

int fail(int n) {
    throw std::domain_error(std::to_string(n));
}

/// Three workers and three tasks, each of which stands before its own gate and then gives its
/// number, or throws.
class ThreeTasks {
public:
    explicit ThreeTasks(bool second_throws = false) {
        for (int i = 0; i < 3; ++i) {
            const bool throws = second_throws && i == 1;
            futures.push_back(pool_.submit(with_captures([gate = &gate(i), i, throws]() -> int {
                gate->pass();
                return throws ? fail(i) : i;
            })));
        }
        for (int i = 0; i < 3; ++i) {
            if (!gate(i).await_arrivals(1)) throw std::runtime_error("workers do not come");
        }
    }
    /// Opens the gates, or the pool would wait for its tasks.
    ~ThreeTasks() {
        for (Gate& gate : *gates_) gate.open();
    }
    ThreeTasks(const ThreeTasks&) = delete;
    ThreeTasks& operator=(const ThreeTasks&) = delete;

    Gate& gate(int i) { return (*gates_)[static_cast<std::size_t>(i)]; }

    std::vector<Future<int>> futures;

private:
    Shared<std::array<Gate, 3>> gates_;
    ProcessPoolExecutor pool_{3};
};

template <typename Futures>
void drop_done(Futures& futures) {
    std::erase_if(futures, [](const auto& future) { return future.done(); });
}

} // namespace

TEST_CASE("wait for the first returns when one has completed, and says which") {
    ThreeTasks tasks;
    std::thread opener([&] { tasks.gate(1).open(); });
    const auto first = prong::wait(tasks.futures, ReturnWhen::first_completed);
    opener.join();
    CHECK(first.done == Positions{1});
    CHECK(first.not_done == Positions{0, 2});
    CHECK(tasks.futures[1].get() == 1);
}

TEST_CASE("wait for the first returns at once while one is done already") {
    ThreeTasks tasks;
    tasks.gate(0).open();
    tasks.futures[0].wait();
    for (int i = 0; i < 3; ++i) {
        CHECK(prong::wait(tasks.futures, ReturnWhen::first_completed).done == Positions{0});
    }
    CHECK(tasks.futures[0].get() == 0); // wait has not taken it
}

TEST_CASE("wait for all returns when all have completed, and is the default") {
    ThreeTasks tasks;
    tasks.gate(0).open();
    tasks.futures[0].wait();
    CHECK(prong::wait(tasks.futures, ReturnWhen::all_completed, 1ms).not_done == Positions{1, 2});
    std::thread opener([&] {
        tasks.gate(2).open();
        tasks.gate(1).open();
    });
    const auto all = prong::wait(tasks.futures);
    opener.join();
    CHECK(all.done == Positions{0, 1, 2});
    CHECK(all.not_done.empty());
}

TEST_CASE("wait for the first exception passes over tasks that return") {
    ThreeTasks tasks(true);
    tasks.gate(0).open();
    tasks.futures[0].wait();
    const auto still = prong::wait(tasks.futures, ReturnWhen::first_exception, 1ms);
    CHECK(still.done == Positions{0});
    std::thread opener([&] { tasks.gate(1).open(); });
    const auto failed = prong::wait(tasks.futures, ReturnWhen::first_exception);
    opener.join();
    CHECK(failed.done == Positions{0, 1});
    CHECK(failed.not_done == Positions{2});
    CHECK_THROWS_AS(tasks.futures[1].get(), std::domain_error);
}

TEST_CASE("wait for the first exception returns when all have ended without any") {
    ThreeTasks tasks;
    std::thread opener([&] {
        for (int i = 0; i < 3; ++i) tasks.gate(i).open();
    });
    const auto all = prong::wait(tasks.futures, ReturnWhen::first_exception);
    opener.join();
    CHECK(all.done == Positions{0, 1, 2});
}

TEST_CASE("a worker's death is an exception to wait, and is a completion") {
    ThreeTasks tasks;
    auto& futures = tasks.futures;
    const auto workers = workers_of(supervisor_of(getpid()));
    REQUIRE(workers.size() == 3);
    kill(workers[0], SIGKILL);
    const auto failed = prong::wait(futures, ReturnWhen::first_exception);
    REQUIRE(failed.done.size() == 1);
    CHECK(failed.not_done.size() == 2);
    CHECK(prong::wait(futures, ReturnWhen::first_completed).done == failed.done);
    CHECK_THROWS_AS(futures[failed.done[0]].get(), WorkerDied);
}

TEST_CASE("a cancelled future has completed, but not with an exception") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(square, i));
    REQUIRE(futures[1].cancel());
    const auto first = prong::wait(futures, ReturnWhen::first_completed);
    CHECK(first.done == Positions{1});
    CHECK(first.not_done == Positions{0, 2});
    CHECK(prong::wait(futures, ReturnWhen::first_exception, 1ms).not_done == Positions{0, 2});
    gate->open();
    CHECK(prong::wait(futures).done == Positions{0, 1, 2});
}

TEST_CASE("cancelling in one thread ends the wait in another") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    const auto when = GENERATE(ReturnWhen::first_completed, ReturnWhen::all_completed);
    std::vector<Future<int>> futures;
    futures.push_back(pool.submit(square, 1));
    std::thread canceller([&] { pool.shutdown(false, true); });
    CHECK(prong::wait(futures, when).done == Positions{0});
    canceller.join();
    CHECK(futures[0].cancelled());
    gate->open();
}

TEST_CASE("a wait without time only looks") {
    ThreeTasks tasks;
    for (const auto when :
         {ReturnWhen::first_completed, ReturnWhen::first_exception, ReturnWhen::all_completed}) {
        for (const auto timeout : {0ms, -5ms}) {
            const auto nothing = prong::wait(tasks.futures, when, timeout);
            CHECK(nothing.done.empty());
            CHECK(nothing.not_done == Positions{0, 1, 2});
        }
    }
    tasks.gate(2).open();
    CHECK(eventually([&] {
        return prong::wait(tasks.futures, ReturnWhen::all_completed, 0ms).done == Positions{2};
    }));
    CHECK_FALSE(tasks.futures[0].done());
}

TEST_CASE("a wait whose timeout expires returns what is done, and may be repeated") {
    ThreeTasks tasks;
    CHECK(prong::wait(tasks.futures, ReturnWhen::first_completed, 2ms).done.empty());
    CHECK(prong::wait(tasks.futures, ReturnWhen::first_exception, 2ms).done.empty());
    CHECK(prong::wait(tasks.futures, ReturnWhen::all_completed, 2ms).done.empty());
    for (int i = 0; i < 3; ++i) tasks.gate(i).open();
    const auto longest = std::chrono::hours::max();
    CHECK(prong::wait(tasks.futures, ReturnWhen::all_completed, longest).not_done.empty());
    CHECK(prong::wait(tasks.futures, ReturnWhen::all_completed, std::nullopt).not_done.empty());
}

TEST_CASE("an empty range is done at once") {
    std::vector<Future<int>> none;
    for (const auto when :
         {ReturnWhen::first_completed, ReturnWhen::first_exception, ReturnWhen::all_completed}) {
        const auto result = prong::wait(none, when);
        CHECK(result.done.empty());
        CHECK(result.not_done.empty());
    }
    for (auto& future : prong::as_completed(none)) FAIL(future.valid());
    for (auto& future : prong::as_completed(none, 0s)) FAIL(future.valid());
    for (auto& future : prong::as_completed({})) FAIL(future.valid());
}

TEST_CASE("a future without a task is a std::logic_error to wait and as_completed") {
    ProcessPoolExecutor pool(1);
    std::vector<Future<int>> futures(1);
    futures.push_back(pool.submit(square, 2));
    futures[1].wait();
    for (const auto when :
         {ReturnWhen::first_completed, ReturnWhen::first_exception, ReturnWhen::all_completed}) {
        CHECK_THROWS_AS(prong::wait(futures, when), std::logic_error);
        CHECK_THROWS_AS(prong::wait(futures, when, 0s), std::logic_error);
        std::swap(futures[0], futures[1]);
    }
    CHECK_THROWS_AS(
        [&] {
            for (auto& future : prong::as_completed(futures)) future.wait();
        }(),
        std::logic_error);
    futures[futures[0].valid() ? 0U : 1U].get();
    CHECK_THROWS_AS(prong::wait(futures), std::logic_error);
}

TEST_CASE("a future that is in the range twice comes once, but has both of its positions") {
    ProcessPoolExecutor pool(1);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) futures.push_back(pool.submit(square, i));
    const std::vector<Future<int>*> twice{&futures[2], &futures[0], &futures[2], &futures[1]};
    auto range = twice | std::views::transform([](Future<int>* f) -> Future<int>& { return *f; });
    CHECK(prong::wait(range).done == Positions{0, 1, 2, 3});
    CHECK(prong::wait(range, ReturnWhen::first_completed).done == Positions{0, 1, 2, 3});
    std::vector<int> results;
    for (auto& future : prong::as_completed(range)) results.push_back(future.get());
    std::ranges::sort(results);
    CHECK(results == std::vector{0, 1, 4});
}

TEST_CASE("as_completed gives tasks for any order of their submission and end") {
    const auto priorities = GENERATE(false, true);
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(PoolOptions{.max_workers = 2});
    auto held = occupy(pool, gate);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3000; ++i) {
        const TaskOptions options{.deadline = i % 7 == 0 ? prong::Timeout(1ms) : std::nullopt,
                                  .max_retries = i % 1000 == 3 ? 1 : 0,
                                  .priority = static_cast<prong::Priority>(priorities ? i % 3 : 1)};
        futures.push_back(pool.with(options).submit(
            [](int n) {
                if (n % 1000 == 3 && prong::this_task::attempt() == 1) raise(SIGKILL);
                return n;
            },
            i));
    }
    std::ranges::reverse(futures);
    for (std::size_t i = 0; i < futures.size(); i += 11) futures[i].cancel();
    std::vector<int> seen(3000);
    std::size_t ended = 0;
    for (auto& future : prong::as_completed(futures)) {
        if (++ended == 500) gate->open(); // cancelled and expired ones come without any worker
        const auto i = static_cast<std::size_t>(&future - futures.data());
        ++seen[2999 - i];
    }
    CHECK(ended == 3000);
    CHECK(std::ranges::all_of(seen, [](int times) { return times == 1; }));
}

TEST_CASE("cancelling all by itself ends what others wait for, though no worker passes") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 2000; ++i) futures.push_back(pool.submit(square, i));
    std::thread canceller([&] { pool.shutdown(false, true); });
    int ended = 0;
    for (auto& future : prong::as_completed(futures)) ended += future.cancelled() ? 1 : 0;
    canceller.join();
    CHECK(ended == 2000);
    gate->open();
}

TEST_CASE("deadlines that pass behind many queued tasks end a wait") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = occupy(pool, gate);
    auto futures = pool.submit_batch(square, std::views::iota(0, 1000));
    const auto hurried = pool.with(TaskOptions{.deadline = 5ms});
    for (Future<int>& late : hurried.submit_batch(square, std::views::iota(0, 10)))
        futures.push_back(std::move(late));
    std::size_t ended = 0;
    for (Future<int>& future : prong::as_completed(futures)) {
        const bool is_late = &future - futures.data() >= 1000;
        if (++ended <= 10)
            CHECK_THROWS_AS(future.get(), prong::TaskTimeout);
        else
            CHECK_FALSE(is_late);
        if (ended == 10) gate->open();
    }
    CHECK(ended == 1010);
}

TEST_CASE("wait takes futures of several pools") {
    const Shared<Gate> gate;
    ProcessPoolExecutor first(1);
    ProcessPoolExecutor second(1);
    ProcessPoolExecutor third(1);
    auto futures = occupy(first, gate);
    futures.push_back(second.submit(square, 3));
    futures.push_back(third.submit(square, 4));
    futures[1].wait();
    futures[2].wait();
    CHECK(prong::wait(futures, ReturnWhen::all_completed, 1ms).not_done == Positions{0});
    std::thread opener([&] { gate->open(); });
    CHECK(prong::wait(futures).done == Positions{0, 1, 2});
    opener.join();
}

TEST_CASE("whichever of several pools completes first ends the wait") {
    const Shared<std::array<Gate, 3>> gates;
    ProcessPoolExecutor pools[3] = {ProcessPoolExecutor(1), ProcessPoolExecutor(1),
                                    ProcessPoolExecutor(1)};
    std::vector<Future<int>> futures;
    for (std::size_t i = 0; i < 3; ++i) {
        futures.push_back(pools[i].submit(with_captures([gate = &(*gates)[i]] {
            gate->pass();
            return 1;
        })));
    }
    for (const std::size_t next : {2U, 0U, 1U}) {
        std::thread opener([&] { (*gates)[next].open(); });
        const auto result = prong::wait(futures, ReturnWhen::first_completed);
        opener.join();
        REQUIRE(result.done.size() == 1);
        CHECK(futures[result.done[0]].get() == 1);
        futures.erase(futures.begin() + static_cast<std::ptrdiff_t>(result.done[0]));
    }
    CHECK(futures.empty());
}

TEST_CASE("as_completed gives futures of several pools in the order in which they end") {
    const Shared<std::array<Gate, 3>> gates;
    ProcessPoolExecutor pools[2] = {ProcessPoolExecutor(2), ProcessPoolExecutor(2)};
    std::vector<Future<int>> futures;
    for (int i = 0; i < 3; ++i) {
        futures.push_back(
            pools[i % 2].submit(with_captures([gate = &(*gates)[static_cast<std::size_t>(i)], i] {
                gate->pass();
                return i;
            })));
    }
    std::vector<int> order;
    (*gates)[1].open();
    for (auto& future : prong::as_completed(futures)) {
        order.push_back(future.get());
        (*gates)[order.size() == 1 ? 2 : 0].open();
    }
    CHECK(order == std::vector<int>{1, 2, 0});
}

TEST_CASE("as_completed gives each future once, with its result, and leaves it in its place") {
    ProcessPoolExecutor pool(2);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 1000; ++i) futures.push_back(pool.submit(square, i));
    std::vector<int> times(1000);
    for (auto& future : prong::as_completed(futures)) {
        const auto place = static_cast<std::size_t>(&future - futures.data());
        REQUIRE(place < futures.size());
        REQUIRE(future.done());
        ++times[place];
        REQUIRE(future.get() == static_cast<int>(place * place));
    }
    CHECK(std::ranges::count(times, 1) == 1000);
    CHECK(std::ranges::none_of(futures, [](const auto& future) { return future.valid(); }));
}

TEST_CASE("as_completed gives failed and cancelled futures too") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto futures = occupy(pool, gate);
    futures.push_back(pool.submit(fail, 1));
    futures.push_back(pool.submit(square, 3));
    REQUIRE(futures[2].cancel());
    int returned = 0;
    int failed = 0;
    int cancelled = 0;
    for (auto& future : prong::as_completed(futures)) {
        gate->open();
        try {
            static_cast<void>(future.get());
            ++returned;
        } catch (const std::domain_error&) {
            ++failed;
        } catch (const CancelledError&) {
            CHECK(returned + failed == 0); // the gate was closed until now
            ++cancelled;
        }
    }
    CHECK(returned == 1);
    CHECK(failed == 1);
    CHECK(cancelled == 1);
}

TEST_CASE("as_completed throws TimeoutError when the timeout expires, after what has ended") {
    ThreeTasks tasks;
    tasks.gate(1).open();
    tasks.futures[1].wait();
    int given = 0;
    const auto take_all = [&](prong::Timeout timeout) {
        for (auto& future : prong::as_completed(tasks.futures, timeout)) {
            CHECK(&future == &tasks.futures[1]);
            ++given;
        }
    };
    CHECK_THROWS_AS(take_all(0s), prong::TimeoutError);
    CHECK(given == 1);
    CHECK_THROWS_AS(take_all(5ms), prong::TimeoutError);
    CHECK(given == 2);
    for (int i = 0; i < 3; ++i) tasks.gate(i).open();
    int sum = 0;
    for (auto& future : prong::as_completed(tasks.futures, 1h)) sum += future.get();
    CHECK(sum == 0 + 1 + 2);
}

TEST_CASE("any range whose elements are futures will do") {
    ProcessPoolExecutor pool(1);
    std::array<Future<int>, 2> array{pool.submit(square, 1), pool.submit(square, 2)};
    CHECK(prong::wait(array).done.size() == 2);
    std::list<Future<void>> list;
    for (int i = 0; i < 3; ++i) list.push_back(pool.submit([] {}));
    CHECK(prong::wait(std::as_const(list)).done.size() == 3);
    std::vector<std::unique_ptr<Future<int>>> pointers;
    pointers.push_back(std::make_unique<Future<int>>(pool.submit(square, 3)));
    auto pointees = pointers | std::views::transform([](auto& it) -> Future<int>& { return *it; });
    CHECK(prong::wait(pointees).done == Positions{0});
    for (auto& future : prong::as_completed(pointees)) CHECK(future.get() == 9);
    Future<int> futures[] = {pool.submit(square, 4), pool.submit(square, 5)};
    CHECK(prong::wait(futures, ReturnWhen::all_completed).done == Positions{0, 1});
    int sum = 0;
    for (auto& future : prong::as_completed(array | std::views::drop(1))) sum += future.get();
    CHECK(sum == 4);
    int count = 0;
    for (auto& future : prong::as_completed(list)) count += future.done() ? 1 : 0;
    CHECK(count == 3);
}

TEST_CASE("many futures can be waited for down to the last") {
    constexpr int count = 20'000;
    ProcessPoolExecutor pool(2);
    std::vector<Future<int>> futures;
    for (int i = 0; i < count; ++i) futures.push_back(pool.submit(square, i % 100));
    CHECK(prong::wait(futures, ReturnWhen::first_completed).done.size() >= 1);
    CHECK(prong::wait(futures, ReturnWhen::first_exception).done.size() == count);
    CHECK(prong::wait(futures).done.size() == count);
    int taken = 0;
    for (auto& future : prong::as_completed(futures)) taken += future.get() >= 0 ? 1 : 0;
    CHECK(taken == count);
}

TEST_CASE("a wait for the first, repeated, empties a range") {
    ProcessPoolExecutor pool(2);
    std::vector<Future<int>> futures;
    for (int i = 0; i < 200; ++i) futures.push_back(pool.submit(square, i));
    while (!futures.empty()) {
        const auto result = prong::wait(futures, ReturnWhen::first_completed);
        REQUIRE_FALSE(result.done.empty());
        drop_done(futures);
    }
    CHECK(pool.submit(square, 2).get() == 4);
}

TEST_CASE("several threads wait for futures of one pool") {
    ThreeTasks tasks;
    std::array<std::vector<Future<int>>, 3> mine;
    for (std::size_t i = 0; i < 3; ++i) mine[i].push_back(std::move(tasks.futures[i]));
    std::atomic<int> ended = 0;
    std::vector<std::jthread> threads;
    for (auto& futures : mine) {
        threads.emplace_back([&ended, &futures] {
            const auto result = prong::wait(futures, ReturnWhen::first_completed);
            ended += static_cast<int>(result.done.size());
        });
    }
    for (int i = 2; i >= 0; --i) {
        tasks.gate(i).open();
        CHECK(eventually([&] { return ended == 3 - i; }));
    }
}

TEST_CASE("a supervisor that is killed ends every wait with BrokenProcessPool") {
    const Shared<Gate> gate;
    ProcessPoolExecutor other(1);
    const pid_t other_supervisor = supervisor_of(getpid());
    auto waiting = occupy(other, gate);
    ProcessPoolExecutor pool(1);
    pid_t supervisor = 0;
    for (const auto& child : children_of(getpid())) {
        if (child.pid != other_supervisor) supervisor = child.pid;
    }
    REQUIRE(supervisor > 0);
    std::array<std::vector<Future<int>>, 4> futures;
    for (auto& some : futures) {
        for (int i = 0; i < 3; ++i) some.push_back(pool.submit(pass(gate)));
    }
    REQUIRE(gate->await_arrivals(2));
    futures[3].push_back(std::move(waiting[0])); // of the pool that lives on
    Positions first;
    Positions failed;
    Positions all;
    int broken = 0;
    std::thread threads[] = {
        std::thread([&] { first = prong::wait(futures[0], ReturnWhen::first_completed).done; }),
        std::thread([&] { failed = prong::wait(futures[3], ReturnWhen::first_exception).done; }),
        std::thread([&] { all = prong::wait(futures[1]).done; }), std::thread([&] {
            for (auto& future : prong::as_completed(futures[2])) {
                try {
                    static_cast<void>(future.get());
                } catch (const BrokenProcessPool&) {
                    ++broken;
                }
            }
        })};
    kill(supervisor, SIGKILL);
    for (std::thread& thread : threads) thread.join();
    CHECK_FALSE(first.empty());
    CHECK_FALSE(failed.empty());
    CHECK(all == Positions{0, 1, 2});
    CHECK(broken == 3);
    CHECK_FALSE(futures[3][3].done());
    gate->open();
    CHECK(futures[3][3].get() > 0);
    CHECK_THROWS_AS(futures[0][0].get(), BrokenProcessPool);
}

TEST_CASE("futures of different types are waited for together") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto number = pool.submit(square, 3);
    auto text = pool.submit([] { return std::string("text"); });
    auto held = pool.submit(with_captures([place = gate.get()] { place->pass(); }));
    number.wait();
    text.wait();
    const auto check = [&](const prong::WaitResult& result) {
        CHECK(result.done == Positions{0, 2});
        CHECK(result.not_done == Positions{1});
    };
    check(prong::wait(std::tie(number, held, text), ReturnWhen::all_completed, 0s));
    check(prong::wait({number, held, text}, ReturnWhen::all_completed, 0s));
    const std::vector<prong::AnyFuture> any{number, held, text};
    check(prong::wait(any, ReturnWhen::all_completed, 0s));
    CHECK(prong::wait(any, ReturnWhen::first_completed).done == Positions{0, 2});
    CHECK(prong::wait({number, number}).done == Positions{0, 1});
    CHECK(prong::wait(std::tie()).done.empty());
    CHECK(prong::wait({}).empty());
    const auto& constant = number;
    CHECK(prong::wait(std::tie(constant, text)).done.size() == 2);
    gate->open();
    CHECK(prong::wait(std::tie(number, held, text)).not_done.empty());
    CHECK_NOTHROW(held.get());
    CHECK(number.get() == 9);
    CHECK_THROWS_AS(prong::wait(any), std::logic_error);
}

TEST_CASE("as_completed gives futures of different types, and which one each is") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto held = pool.submit(pass(gate));
    auto text = pool.submit([] { return std::string("text"); });
    auto nothing = pool.submit([] {});
    REQUIRE(nothing.cancel());
    std::vector<int> order;
    const auto note = [&](prong::AnyFuture& any) {
        CHECK(any.done());
        CHECK((any == held) + (any == text) + (any == nothing) == 1);
        order.push_back(any == held ? 0 : any == text ? 1 : 2);
        gate->open(); // the cancelled one comes first
    };
    SECTION("a tuple") {
        for (auto& any : prong::as_completed(std::tie(held, text, nothing, held))) note(any);
    }
    SECTION("a list") {
        for (auto& any : prong::as_completed({held, text, nothing, held})) note(any);
    }
    SECTION("a range") {
        std::vector<prong::AnyFuture> all{held, text, nothing, held};
        for (auto& any : prong::as_completed(all)) note(any);
    }
    CHECK(order == std::vector{2, 0, 1});
    CHECK(text.get() == "text");
    CHECK(held.get() != getpid());
}

TEST_CASE("a view of a future does what the future does") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto running = pool.submit(pass(gate));
    auto queued = pool.submit(square, 3);
    auto asked = pool.submit(square, 4);
    const prong::AnyFuture any = running;
    CHECK(any == running);
    CHECK(any != queued);
    REQUIRE(gate->await_arrivals(1));
    CHECK(any.running());
    CHECK_FALSE(any.done());
    CHECK_FALSE(any.wait_for(0s));
    CHECK_FALSE(any.wait_until(std::chrono::steady_clock::now()));
    CHECK(any.request_stop());
    CHECK_FALSE(any.cancel());
    CHECK(prong::AnyFuture(queued).cancel());
    CHECK(prong::AnyFuture(asked).request_stop());
    CHECK(any.kill());
    any.wait();
    CHECK(any.cancelled());
    CHECK_THROWS_AS(running.get(), CancelledError);
    CHECK_FALSE(any.valid());
    CHECK_THROWS_AS(any.done(), std::logic_error);
    CHECK_FALSE(any.cancel());
}

TEST_CASE("as_completed passes over futures that its loop has taken, moved or dropped") {
    ThreeTasks tasks;
    SECTION("before they come") {
        for (int i = 0; i < 3; ++i) tasks.gate(i).open();
        prong::wait(tasks.futures);
        int came = 0;
        for (auto& future : prong::as_completed(tasks.futures)) {
            ++came;
            CHECK(future.valid());
            for (auto& each : tasks.futures) each.get();
        }
        CHECK(came == 1);
    }
    SECTION("while others are waited for") {
        tasks.gate(0).open();
        int sum = 0;
        for (auto& future : prong::as_completed(tasks.futures)) {
            sum += future.get();
            tasks.futures[1] = {};
            tasks.gate(2).open();
        }
        CHECK(sum == 2);
    }
    SECTION("all that are left, with time enough") {
        tasks.gate(0).open();
        for (auto& future : prong::as_completed(tasks.futures, 60s)) {
            CHECK(future.get() == 0);
            const auto moved = std::move(tasks.futures[1]);
            tasks.futures[2] = {};
        }
    }
}

TEST_CASE("wait refuses a future without a task before it waits") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto slow = pool.submit(pass(gate));
    Future<int> none;
    CHECK_THROWS_AS(prong::wait({slow, none}), std::logic_error);
    gate->open();
}

TEST_CASE("a wait until the end of a clock is no poll") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto future = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    gate->open();
    CHECK(future.wait_until(std::chrono::sys_time<std::chrono::seconds>::max()));
    CHECK(prong::Timeout(std::chrono::duration<float>(9.2233720e9F)).value()->count() > 0);
}

TEST_CASE("futures are waited for together with processes, connections and descriptors") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(2);
    auto held = pool.submit(pass(gate));
    auto [near, far] = prong::Pipe();
    prong::Process process([place = gate.get()] { place->pass(); });
    process.start();
    REQUIRE(gate->await_arrivals(2));
    SECTION("none is ready") {
        CHECK(prong::wait({held, near, process}, 0s).empty());
        CHECK(prong::wait({held, near.fileno()}, 1ms).empty());
    }
    SECTION("a connection is") {
        far.send(7);
        CHECK(prong::wait({held, near, process}) == Positions{1});
    }
    SECTION("a future is") {
        auto other = pool.submit(square, 3);
        CHECK(prong::wait({held, near, process, other}) == Positions{3});
        CHECK(prong::wait({other, near, process, held}) == Positions{0});
        CHECK(other.get() == 9);
    }
    SECTION("all are") {
        std::thread opener([&] { gate->open(); });
        CHECK_FALSE(prong::wait({held, process}).empty());
        opener.join();
        held.wait();
        process.join();
        far.send(7);
        CHECK(prong::wait({held, near, process}, 0s) == Positions{0, 1, 2});
        const prong::AnyFuture any = held;
        const std::vector<prong::Waitable> items{any, near, process};
        CHECK(items[0].fd() == -1);
        CHECK(prong::wait(items) == Positions{0, 1, 2});
    }
    SECTION("the timeout is the second argument") {
        auto other = pool.submit(square, 3);
        CHECK(prong::wait({held, other}, 20s) == Positions{1});
    }
    gate->open();
    process.join();
    CHECK_THROWS_AS(prong::wait({Future<int>(), near}), std::logic_error);
}

TEST_CASE("threads wait for futures of one pool together with other things") {
    ProcessPoolExecutor pool(2);
    std::atomic<int> wrong = 0;
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            auto [near, far] = prong::Pipe();
            for (int i = 0; i < 200; ++i) {
                auto future = pool.submit(square, i);
                const auto ready = prong::wait({near, future});
                wrong += ready == Positions{1} && future.done() ? 0 : 1;
            }
        });
    }
    threads.clear();
    CHECK(wrong == 0);
}

TEST_CASE("a wait for futures and other things ends when the supervisor is killed") {
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(1);
    auto [near, far] = prong::Pipe();
    auto future = pool.submit(pass(gate));
    REQUIRE(gate->await_arrivals(1));
    kill(supervisor_of(getpid()), SIGKILL);
    CHECK(prong::wait({near, future}) == Positions{1});
    CHECK(eventually([&] { return prong::wait({future, near}, 0s) == Positions{0}; }));
    CHECK_THROWS_AS(future.get(), BrokenProcessPool);
}
