// Buffers and views pass between a program, its workers and other processes, while an adversary
// kills, stops and continues these at random. PRONG_SEED repeats the adversary's choices,
// PRONG_CHAOS_SECONDS sets how long it rages.

#include "buffer/memory.hpp"
#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"
#include "support/processes.hpp"

#include <prong/prong.hpp>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace prong::test;
using prong::ObjectGone;
using prong::Process;
using prong::Queue;
using prong::SharedBuffer;
using prong::SharedView;

namespace {

using Ints = SharedBuffer<int>;
using Random = std::mt19937_64;

std::chrono::milliseconds time_of_chaos() {
    const char* const seconds = std::getenv("PRONG_CHAOS_SECONDS");
    if (seconds != nullptr) return std::chrono::seconds(std::atoi(seconds));
    return std::chrono::milliseconds(how_often(2000, 60000));
}

/// Returns whether all elements are equal: no other process is changing the buffer.
bool is_whole(std::span<const int> elements) {
    return !elements.empty() &&
           std::ranges::all_of(elements, [&](int element) { return element == elements.front(); });
}

/// Takes the buffer for itself for a while.
Ints rewrite(Ints buffer) {
    if (!buffer.empty() && !is_whole(buffer)) std::fill(buffer.begin(), buffer.end(), -1);
    for (int& element : buffer) ++element;
    return buffer;
}

std::pair<Ints, SharedView<int>> share(Ints buffer) {
    SharedView<int> view = buffer.share();
    return {std::move(buffer), std::move(view)};
}

int look(const SharedView<int>& view) {
    return is_whole(view) ? view[0] : -1;
}

/// Signals to the workers, and to processes that a queue connects.
class Adversary {
public:
    Adversary(std::uint64_t seed, pid_t supervisor)
        : random_(seed), supervisor_(supervisor), thread_([this](const std::stop_token& stop) {
              while (!stop.stop_requested()) {
                  strike();
                  std::this_thread::sleep_for(std::chrono::microseconds(random_() % 4000));
              }
              for (const pid_t worker : stopped_) kill(worker, SIGCONT);
          }) {}

    [[nodiscard]] int signals() const { return signals_; }

private:
    void strike() {
        const std::vector<pid_t> workers = workers_of(supervisor_);
        if (workers.empty()) return;
        const pid_t worker = workers[random_() % workers.size()];
        const int signal = random_() % 3 == 0 ? SIGSTOP : SIGKILL;
        kill(worker, signal);
        if (signal == SIGSTOP) stopped_.push_back(worker);
        if (stopped_.size() > 1) {
            kill(stopped_.front(), SIGCONT);
            stopped_.erase(stopped_.begin());
        }
        ++signals_;
    }

    Random random_;
    pid_t supervisor_;
    std::vector<pid_t> stopped_;
    std::atomic<int> signals_ = 0;
    std::jthread thread_;
};

} // namespace

TEST_CASE("workers are killed and stopped while buffers pass between them") {
    const BufferMemory memory;
    Random random(test_seed());
    std::uint64_t tasks = 0;
    std::uint64_t lost = 0;
    int violations = 0;
    int signals = 0;
    {
        ProcessPoolExecutor pool(4);
        auto retried = pool.with(TaskOptions{.max_retries = 20});
        const Ints table(1000, 42);
        const Adversary adversary(random(), supervisor_of(getpid()));
        const auto end = std::chrono::steady_clock::now() + time_of_chaos();
        const auto guarded = [&](auto step) {
            ++tasks;
            try {
                step();
            } catch (const WorkerDied&) {
                ++lost;
            } catch (const prong::PoisonedTask&) {
                ++lost;
            }
        };
        std::vector<Ints> buffers(8);
        while (std::chrono::steady_clock::now() < end) {
            std::vector<Future<Ints>> futures;
            for (Ints& buffer : buffers) {
                if (buffer.empty()) buffer = Ints(1 + random() % 100000, 1);
                const bool is_retried = random() % 2 == 0;
                futures.push_back(is_retried ? retried.submit(rewrite, std::move(buffer))
                                             : pool.submit(rewrite, std::move(buffer)));
            }
            if (random() % 4 == 0) futures[random() % futures.size()] = {};
            Future<Ints>& other = futures[random() % futures.size()];
            if (random() % 4 == 0 && other.valid()) other.cancel();
            std::vector<Future<int>> looks;
            for (int i = 0; i < 10; ++i) looks.push_back(pool.submit(look, table.share()));
            Future<std::pair<Ints, SharedView<int>>> shared = pool.submit(share, Ints(100, 7));
            for (std::size_t i = 0; i < futures.size(); ++i) {
                guarded([&] {
                    if (!futures[i].valid()) return;
                    try {
                        buffers[i] = futures[i].get();
                    } catch (const CancelledError&) {
                        return;
                    }
                    // A worker that was killed may have changed a part of it.
                    if (buffers[i].empty()) ++violations;
                    std::fill(buffers[i].begin(), buffers[i].end(), 1);
                });
            }
            for (Future<int>& future : looks) {
                guarded([&] { violations += future.get() == 42 ? 0 : 1; });
            }
            guarded([&] {
                auto [buffer, view] = shared.get();
                buffer = Ints();
                if (view.size() != 100 || look(view) != 7) ++violations;
            });
        }
        violations += is_whole(table) ? 0 : 1;
        signals = adversary.signals();
    }
    const std::int64_t left = memory.more();
    std::cout << "chaos of buffers: " << tasks << " tasks, " << signals << " signals, " << lost
              << " lost, " << violations << " violations, " << left << " blocks left, "
              << memory.more_blocks() << " of dead processes\n";
    REQUIRE(memory.more_blocks() <= signals);
    REQUIRE(tasks > lost);
    REQUIRE(violations == 0);
    REQUIRE(left == 0);
}

TEST_CASE("processes are killed while a queue passes buffers between them") {
    const BufferMemory memory;
    Random random(test_seed());
    Shared<std::atomic<int>> violations;
    int killed = 0;
    int passed = 0;
    {
        const Queue<Ints> there;
        const Queue<Ints> back;
        const auto serve = [&] {
            for (;;) {
                Ints buffer = there.get();
                if (!is_whole(buffer)) violations->fetch_add(1);
                back.put(rewrite(std::move(buffer)));
            }
        };
        const auto end = std::chrono::steady_clock::now() + time_of_chaos() / 2;
        while (std::chrono::steady_clock::now() < end) {
            std::vector<Process> servers;
            for (int i = 0; i < 2; ++i) servers.emplace_back(serve).start();
            for (int i = 0; i < 20; ++i) there.put(Ints(1 + random() % 1000, 5));
            const std::uint64_t wanted = random() % 20;
            for (std::uint64_t i = 0; i < wanted; ++i) {
                const auto buffer = back.get_for(1s);
                if (!buffer) break;
                ++passed;
                if (!is_whole(*buffer) || (*buffer)[0] != 6) violations->fetch_add(1);
            }
            for (Process& server : servers) server.kill();
            for (Process& server : servers) server.join();
            killed += 2;
            const auto drain = [](const Queue<Ints>& queue) {
                for (bool again = true; again;) {
                    try {
                        again = queue.try_get().has_value();
                    } catch (const ObjectGone&) { // a dead process had taken it
                    }
                }
            };
            drain(there);
            drain(back);
        }
    }
    const std::int64_t left = memory.more();
    std::cout << "chaos of buffers in queues: " << passed << " passed, " << killed
              << " processes killed, " << *violations << " violations, " << left
              << " blocks left\n";
    REQUIRE(passed > 0);
    REQUIRE(*violations == 0);
    REQUIRE(left == 0);
}
