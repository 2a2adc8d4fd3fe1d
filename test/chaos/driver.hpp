#pragma once

#include "chaos/adversary.hpp"
#include "chaos/findings.hpp"
#include "chaos/scripted_task.hpp"
#include "executor/core_pool.hpp"
#include "support/environment.hpp"
#include "support/leaks.hpp"

#include <prong/process_pool_executor.hpp>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace prong::test {

/// How long chaos may take: PRONG_CHAOS_SECONDS if that is set.
inline std::chrono::milliseconds chaos_time(std::chrono::seconds shortly,
                                            std::chrono::seconds fully) {
    const char* const text = std::getenv("PRONG_CHAOS_SECONDS");
    if (text != nullptr) return std::chrono::seconds(std::atoi(text));
    return full_run() ? fully : shortly;
}

struct GateOfPool {
    Shared<Gate> gate_; ///< there before the workers are
};

/// A pool with a gate that holds its workers up.
class GatedPool : private GateOfPool, public CorePool {
public:
    GatedPool(unsigned workers, const executor::SupervisorOptions& options,
              const Supervise& supervise = {})
        : CorePool(workers, supervise, options), supervisor_(supervisor_of(getpid())) {
        if (supervisor_ == 0) throw std::runtime_error("which child is the supervisor?");
    }

    [[nodiscard]] pid_t supervisor() const { return supervisor_; }
    [[nodiscard]] const Shared<Gate>& gate() const { return gate_; }

private:
    pid_t supervisor_;
};

/// What is done to the pool, which decides what may become of tasks.
struct Circumstances {
    std::atomic<bool> kills = false;  ///< workers are
    std::atomic<bool> ending = false; ///< the pool is being ended with its tasks
    std::atomic<bool> breaks = false; ///< the supervisor is killed
    bool tasks_fork = true;           ///< and leave what they have forked
    /// For what ends without further help; for a failing test only, so it is generous.
    std::chrono::milliseconds patience = std::chrono::seconds(20);
};

/// Judges endings: each must be how the task ends by itself, or what was done to it or its pool.
class Judge {
public:
    Judge(const Circumstances& circumstances, Findings& findings)
        : circumstances_(circumstances), findings_(findings) {}

    void judge(const ScriptedTask& task, const Ending& ending) {
        ++tasks_;
        if (may_be(task, ending)) return check_runs(task, ending);
        findings_.require(false, text_of(task.order) + " (kind " +
                                     std::to_string(static_cast<int>(task.order.kind)) +
                                     ", retries " + std::to_string(task.retries()) +
                                     (task.cancelled ? ", cancelled" : "") +
                                     (task.killed ? ", killed" : "") + ") came to " +
                                     name_of(ending.what) + " " + ending.text);
    }

    [[nodiscard]] std::uint64_t tasks() const { return tasks_; }
    /// Deaths that only another process can have caused.
    [[nodiscard]] std::uint64_t undeserved_deaths() const { return undeserved_deaths_; }

private:
    using What = Ending::What;

    bool may_be(const ScriptedTask& task, const Ending& ending) {
        if (ending.what == What::broken) return circumstances_.breaks;
        if (task.cancelled || task.killed) return ending.what == What::cancelled;
        if (ending.what == What::cancelled) return circumstances_.ending;
        if (ending.what == What::timed_out && task.may_time_out) return true;
        if (ending.what == What::died || ending.what == What::poisoned)
            return may_die(task, ending);
        return ending.what == task.naturally();
    }

    bool may_die(const ScriptedTask& task, const Ending& ending) {
        const bool crashed =
            (task.order.kind == Kind::crashes || task.order.kind == Kind::unlucky) &&
            ending.exitcode == crash_code(task.order);
        const bool by_itself = crashed && (!task.order.talks || ending.what != What::died ||
                                           ending.output == text_of(task.order) + "\n");
        const bool by_signal = (circumstances_.kills || circumstances_.ending) &&
                               (ending.exitcode == -SIGKILL || ending.exitcode == -SIGTERM);
        if (!by_itself && !by_signal) return false;
        if (!by_itself) ++undeserved_deaths_;
        if (circumstances_.ending) return true; // no worker is left to try again
        return ending.what == (task.retries() == 0 ? What::died : What::poisoned) &&
               ending.attempts == task.retries() + 1;
    }

    void check_runs(const ScriptedTask& task, const Ending& ending) {
        const int runs = run_table->runs[task.order.place];
        const bool ran = ending.what == What::right || ending.what == What::threw;
        const bool never_ran = task.cancelled && task.retries() == 0;
        findings_.require(runs >= (ran ? 1 : 0) && runs <= (never_ran ? 0 : task.retries() + 1),
                          text_of(task.order) + ", which came to " + name_of(ending.what) +
                              ", has run " + std::to_string(runs) + " times");
    }

    const Circumstances& circumstances_;
    Findings& findings_;
    std::atomic<std::uint64_t> tasks_ = 0;
    std::atomic<std::uint64_t> undeserved_deaths_ = 0;
};

/// A thread's part: submits, cancels, kills, drops, waits and takes, all at random.
class Driver {
public:
    static constexpr std::uint32_t most_at_once = 256;

    Driver(GatedPool& pool, const Circumstances& circumstances, Judge& judge, Findings& findings,
           std::uint64_t seed, std::uint32_t number)
        : pool_(pool), circumstances_(circumstances), judge_(judge), findings_(findings),
          random_(seed), mildness_(one_in(random_, 3)   ? 1
                                   : one_in(random_, 3) ? 10
                                                        : 200),
          next_id_(seed << 20) {
        for (std::uint32_t i = 0; i < most_at_once; ++i)
            free_places_.push_back(number * most_at_once + i);
    }

    /// Runs tasks until the time `until`, or until a violation.
    void drive(std::chrono::steady_clock::time_point until) {
        while (std::chrono::steady_clock::now() < until && findings_.hold()) {
            const std::size_t aim = up_to(random_, one_in(random_, 3) ? most_at_once - 1 : 40);
            try {
                while (tasks_in_flight_.size() < aim) submit();
                meddle();
            } catch (const BrokenProcessPool& error) {
                findings_.require(circumstances_.breaks, error.what());
                return;
            } catch (const PoolShutdown&) {
                findings_.require(circumstances_.ending, "the pool is shut down");
                return;
            }
            while (tasks_in_flight_.size() > aim / 2 && findings_.hold()) take();
        }
    }

    /// Takes everything that is left.
    void finish() {
        while (!tasks_in_flight_.empty() && findings_.hold()) take();
        tasks_in_flight_.clear();
    }

    /// How many of its tasks may have run out of time in the queue.
    [[nodiscard]] std::uint64_t with_deadline() const { return with_deadline_; }

private:
    ScriptedTask invent() {
        ScriptedTask task{.order = {.id = next_id_++,
                                    .kind = Kind::plain,
                                    .place = free_places_.back(),
                                    .result_size = static_cast<std::uint32_t>(up_to(random_, 4)),
                                    .pause_us = 0,
                                    .lucky_attempt = 1,
                                    .talks = false},
                          .data = Data(random_() % 3, random_())};
        const auto choice = random_() % (10'000 * mildness_);
        Order& order = task.order;
        if (choice < 300) {
            order.kind = Kind::throws;
        } else if (choice < 500) {
            order.kind = Kind::slow;
            order.pause_us = static_cast<std::uint32_t>(up_to(random_, 2000));
        } else if (choice < 900) {
            order.result_size = static_cast<std::uint32_t>(random_() % 20'000);
            task.data.assign(random_() % 20'000, random_());
        } else if (choice < 902) {
            order.result_size = 1 << 20;
            task.data.assign(1 << 20, random_());
        } else if (choice < 1000) {
            choose_bad_end(task);
        }
        if (random_() % (4 * mildness_) == 0 || task.options) choose_options(task);
        return task;
    }

    void choose_bad_end(ScriptedTask& task) {
        Order& order = task.order;
        const auto choice = random_() % 100;
        TaskOptions options{.grace = std::chrono::microseconds(up_to(random_, 3000))};
        order.pause_us = static_cast<std::uint32_t>(up_to(random_, 300));
        if (choice < 30) {
            order.kind = Kind::crashes;
            order.talks = one_in(random_, 4);
            options.capture_output = order.talks;
        } else if (choice < 55) {
            order.kind = Kind::unlucky;
            order.lucky_attempt = 1 + static_cast<int>(random_() % 4);
            options.max_retries = ScriptedTask::never_give_up;
        } else if (choice < 90) {
            order.kind = choice < 75 ? Kind::hangs : Kind::stops;
            options.timeout = std::chrono::microseconds(up_to(random_, 5000) + 1);
            if (order.kind == Kind::stops && one_in(random_, 2)) {
                options.grace = std::chrono::seconds(60);
            }
        } else if (choice < 93) {
            order.kind = Kind::hogs;
            options.limits.cpu_time = std::chrono::milliseconds(2);
        } else if (circumstances_.tasks_fork) {
            order.kind = Kind::forks;
        }
        task.options = options;
    }

    void choose_options(ScriptedTask& task) {
        TaskOptions options = task.options.value_or(TaskOptions{});
        options.priority = static_cast<Priority>(random_() % 3);
        if (one_in(random_, 2) && options.max_retries == 0)
            options.max_retries =
                one_in(random_, 2) ? ScriptedTask::never_give_up : static_cast<int>(random_() % 4);
        if (task.order.kind == Kind::crashes && options.max_retries > 4) options.max_retries = 4;
        if (task.naturally() == Ending::What::right && one_in(random_, 4)) {
            options.timeout = std::chrono::seconds(60);
        } else if (task.order.kind == Kind::slow) {
            options.timeout = std::chrono::microseconds(up_to(random_, 3000) + 1);
            options.grace = std::chrono::microseconds(up_to(random_, 200));
            task.may_time_out = true;
        }
        if (one_in(random_, 30)) {
            options.deadline = std::chrono::microseconds(up_to(random_, 20'000));
            ++with_deadline_;
            task.may_time_out = true;
        }
        task.options = options;
    }

    void submit() {
        ScriptedTask task = invent();
        run_table->runs[task.order.place] = 0;
        task.future =
            pool_.submit_with(task.options ? &*task.options : nullptr, run, task.order, task.data);
        free_places_.pop_back();
        tasks_in_flight_.push_back(std::move(task));
    }

    /// One of several things, with one of the errands.
    void meddle() {
        if (tasks_in_flight_.empty()) return;
        ScriptedTask& task = tasks_in_flight_[random_() % tasks_in_flight_.size()];
        const bool given_up = task.cancelled || task.killed;
        switch (random_() % (16 * mildness_)) {
        case 0:
            task.cancelled = task.future.cancel() && !task.killed;
            break;
        case 1:
            if (!given_up) task.killed = task.future.kill();
            break;
        case 2:
            findings_.require(!task.future.running() || !task.cancelled,
                              text_of(task.order) + " was cancelled and runs");
            break;
        case 3:
            static_cast<void>(task.future.wait_for(std::chrono::microseconds(random_() % 2000)));
            break;
        case 4:
            wait_for_first();
            break;
        case 5:
            drop();
            break;
        default:
            break;
        }
    }

    void wait_for_first() {
        std::vector<std::reference_wrapper<ScriptedTask>> all(tasks_in_flight_.begin(),
                                                              tasks_in_flight_.end());
        auto futures = all | std::views::transform(
                                 [](ScriptedTask& task) -> Future<Data>& { return task.future; });
        const auto result =
            prong::wait(futures, ReturnWhen::first_completed, circumstances_.patience);
        findings_.require(!result.done.empty(),
                          "none of " + std::to_string(all.size()) + " tasks comes to an end");
    }

    /// Submits a task and drops its future.
    void drop() {
        ScriptedTask task = invent();
        task.order.place = RunTable::dropped;
        if (task.naturally() == Ending::What::over_limit) return;
        static_cast<void>(
            pool_.submit_with(task.options ? &*task.options : nullptr, run, task.order, task.data));
    }

    /// The result of the oldest, or of any.
    void take() {
        auto task = tasks_in_flight_.begin();
        if (one_in(random_, 3))
            task += static_cast<std::ptrdiff_t>(random_() % tasks_in_flight_.size());
        judge_.judge(*task, task->end(circumstances_.patience));
        free_places_.push_back(task->order.place);
        tasks_in_flight_.erase(task);
    }

    GatedPool& pool_;
    const Circumstances& circumstances_;
    Judge& judge_;
    Findings& findings_;
    Random random_;
    std::uint64_t mildness_; ///< what is out of the ordinary happens so much less often
    std::uint64_t next_id_;
    std::uint64_t with_deadline_ = 0;
    std::vector<std::uint32_t> free_places_;
    std::deque<ScriptedTask> tasks_in_flight_;
};

/// What must hold of a pool in which all tasks have ended.
inline void check_at_rest(GatedPool& pool, Findings& findings, std::chrono::milliseconds patience) {
    const auto stats = [&] { return pool.core().stats(); };
    findings.require(
        eventually([&] { return stats().queued == 0 && stats().running == 0; }, patience),
        "the pool counts " + std::to_string(stats().queued) + " tasks that are queued and " +
            std::to_string(stats().running) + " that run, but all have ended");
    for (const ring::Record& record : pool.state().records) {
        const ring::TaskState state = ring::status_of(record).state;
        findings.require(state == ring::TaskState::vacant || ring::is_final(state),
                         "a record is still " +
                             std::string(state == ring::TaskState::queued ? "queued" : "claimed"));
    }
}

/// New work is accepted, and done by as many workers as there should be.
inline void check_recovered(GatedPool& pool, Findings& findings,
                            std::chrono::milliseconds patience) {
    const unsigned workers = pool.core().workers();
    const Shared<Gate>& gate = pool.gate();
    std::vector<Future<int>> futures;
    for (unsigned i = 0; i < workers; ++i) futures.push_back(pool.submit(pass(gate)));
    findings.require(
        eventually([&] { return gate->arrivals() >= static_cast<int>(workers); }, patience),
        std::to_string(gate->arrivals()) + " of " + std::to_string(workers) +
            " workers take new work");
    gate->open();
    std::vector<int> pids;
    for (auto& future : futures) {
        try {
            pids.push_back(future.get_for(patience));
        } catch (const Error& error) {
            return findings.require(false, std::string("a new task: ") + error.what());
        }
    }
    std::ranges::sort(pids);
    findings.require(std::ranges::adjacent_find(pids) == pids.end(), "a worker is there twice");
}

} // namespace prong::test
