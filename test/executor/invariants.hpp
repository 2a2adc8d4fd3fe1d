#pragma once

#include "executor/core_pool.hpp"
#include "executor/helpers.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

/// \file
/// What must hold in a pool at all times: the same checks for every harness. Each test's main
/// program checks that no process, descriptor or mapping is left.

namespace prong::test {

/// How a task has ended, by its future.
enum class Ending {
    right,
    wrong,
    threw,
    died,
    lost,
    poisoned,
    timed_out,
    cancelled,
    broken,
    pending
};

inline const char* name_of(Ending ending) {
    switch (ending) {
    case Ending::right:
        return "the right result";
    case Ending::wrong:
        return "a wrong result";
    case Ending::threw:
        return "an error of another kind";
    case Ending::died:
        return "WorkerDied";
    case Ending::lost:
        return "RankLost";
    case Ending::poisoned:
        return "PoisonedTask";
    case Ending::timed_out:
        return "TaskTimeout";
    case Ending::cancelled:
        return "CancelledError";
    case Ending::broken:
        return "BrokenProcessPool";
    case Ending::pending:
        break;
    }
    return "no end";
}

/// What `is_right`, which gets a result and looks at it, says or throws.
template <typename IsRight>
Ending ending_of(IsRight is_right, std::string* error_text = nullptr) {
    try {
        return is_right() ? Ending::right : Ending::wrong;
    } catch (const WorkerDied& error) {
        return error.exitcode() == -SIGKILL ? Ending::died : Ending::threw;
    } catch (const RankLost&) {
        return Ending::lost;
    } catch (const PoisonedTask&) {
        return Ending::poisoned;
    } catch (const TaskTimeout&) {
        return Ending::timed_out;
    } catch (const CancelledError&) {
        return Ending::cancelled;
    } catch (const BrokenProcessPool&) {
        return Ending::broken;
    } catch (const std::exception& error) {
        if (error_text != nullptr) *error_text = error.what();
        return Ending::threw;
    }
}

/// A future of any type, and how it should end.
class Expected {
public:
    /// The task counts its runs in `runs`. `normally`: how it ends if nothing happens to it.
    /// `retries`: how often it is tried again.
    template <typename R>
    Expected(std::string name, Future<R> future, R value, const Counter& runs,
             Ending normally = Ending::right, int retries = 0)
        : Expected(
              std::move(name), std::move(future),
              [value = std::move(value)](const R& result) { return result == value; }, runs,
              normally, retries) {}
    /// The same with a predicate for the right result.
    template <typename R, std::predicate<const R&> IsRight>
    Expected(std::string name, Future<R> future, IsRight is_right, const Counter& runs,
             Ending normally = Ending::right, int retries = 0)
        : name_(std::move(name)), runs_(&runs), normally_(normally), retries_(retries) {
        auto shared = std::make_shared<Future<R>>(std::move(future));
        handle_ = &detail::FutureAccess::task(*shared);
        done_ = [shared] { return shared->done(); };
        running_ = [shared] { return shared->running(); };
        kill_ = [shared] { return shared->kill(); };
        request_stop_ = [shared] { return shared->request_stop(); };
        take_ = [shared, is_right = std::move(is_right)](std::chrono::milliseconds limit,
                                                         std::string& error_text) {
            if (!shared->wait_for(limit)) return Ending::pending;
            return ending_of([&] { return is_right(shared->get()); }, &error_text);
        };
    }

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const detail::TaskHandle& handle() const { return *handle_; }
    [[nodiscard]] bool done() const { return done_(); }
    [[nodiscard]] bool running() const { return running_(); }
    [[nodiscard]] int runs() const { return runs_->load(); }

    /// Sets how it should end, in place of what was set before; either is right.
    void expect(Ending ending) { expect(ending, ending); }
    void expect(Ending ending, Ending or_this) { expected_ = {ending, or_this}; }
    /// Now the workers that run anything die: that decides how it should end, unless something has
    /// before.
    void workers_die() {
        if (expected_) return;
        if (running() && ++deaths_ > retries_)
            expect(retries_ == 0 ? Ending::died : Ending::poisoned);
        if (done()) expect(normally_);
    }
    /// The same for the relay. Has no effect on a task that it had not sent.
    void relay_dies(bool was_sent) {
        if (expected_) return;
        if (running() && was_sent && ++deaths_ > retries_) expect(Ending::lost);
        if (done()) expect(normally_);
    }
    /// `Future::kill`, which says how it should end.
    bool kill() {
        const bool had_started = running();
        if (!kill_()) return false;
        expect(Ending::cancelled);
        runs_if_cancelled_ = deaths_ + (had_started ? 1 : 0);
        return true;
    }
    /// `Future::request_stop`: it is not tried again, and one that is queued is cancelled.
    bool request_stop() {
        const bool had_started = running();
        const bool in_time = request_stop_();
        if (in_time && !had_started) expect(Ending::cancelled);
        if (in_time) retries_ = 0;
        return in_time;
    }
    [[nodiscard]] bool is_expected(Ending ending) const {
        return expected_ ? ending == expected_->first || ending == expected_->second
                         : ending == normally_;
    }

    /// How often it may have run, at least and at most, if it has ended so.
    [[nodiscard]] std::pair<int, int> runs_for(Ending ending) const {
        if (ending == Ending::cancelled) return {0, runs_if_cancelled_};
        const bool must = ending == Ending::right || ending == Ending::threw;
        return {must ? 1 : 0, 1 + std::min(deaths_, retries_)};
    }

    /// Takes the result.
    Ending end(std::chrono::milliseconds limit) { return take_(limit, error_text_); }
    /// What the error was, if it was of another kind.
    [[nodiscard]] const std::string& error_text() const { return error_text_; }

private:
    std::string name_;
    const Counter* runs_;
    Ending normally_;
    int retries_;
    int deaths_ = 0; ///< of workers that ran it
    int runs_if_cancelled_ = 0;
    const detail::TaskHandle* handle_;
    std::function<bool()> done_;
    std::function<bool()> running_;
    std::function<bool()> kill_;
    std::function<bool()> request_stop_;
    std::function<Ending(std::chrono::milliseconds, std::string&)> take_;
    std::string error_text_;
    std::optional<std::pair<Ending, Ending>> expected_;
};

/// Collects what is violated; I1 to I8 as in the design, where I6 is for the leak check.
class Invariants {
public:
    /// For futures that end without further help; for a failing test only, so it is generous.
    static constexpr std::chrono::milliseconds patience = std::chrono::seconds(20);

    void require(bool holds, const std::string& otherwise) {
        if (!holds) violations_ += (violations_.empty() ? "" : "; ") + otherwise;
    }

    /// I1, I2, I5: it ends, as expected, and has run no more often than that allows. `limit` zero:
    /// it must have ended.
    void check(Expected& task, std::chrono::milliseconds limit = patience) {
        const Ending ending = task.end(limit);
        require(task.is_expected(ending), task.name() + " came to " + name_of(ending) +
                                              (task.error_text().empty() ? "" : ": ") +
                                              task.error_text());
        const auto [least, most] = task.runs_for(ending);
        require(task.runs() >= least && task.runs() <= most,
                task.name() + " has run " + std::to_string(task.runs()) + " times");
    }

    /// All that must hold of the memory when all tasks have ended and all futures are taken.
    void check_at_rest(executor::PoolCore& core, std::uint64_t deaths) {
        check_records(core);
        check_payload(core, deaths);
    }

    /// I3, I4: nothing is queued or running, every record is accounted for, and what was dropped
    /// keeps no payload.
    void check_records(executor::PoolCore& core) {
        const auto counts = core.record_counts();
        require(counts.free + counts.in_use == counts.touched,
                std::to_string(counts.free) + " free records and " + std::to_string(counts.in_use) +
                    " in use are not " + std::to_string(counts.touched));
        require(counts.in_use == counts.abandoned,
                std::to_string(counts.in_use) + " records are in use");
        for (std::size_t i = 0; i < counts.touched; ++i) {
            const auto status = ring::status_of(core.state().records[i]);
            require(ring::is_final(status.state) || status.state == ring::TaskState::vacant,
                    "record " + std::to_string(i) + " is left in state " +
                        std::to_string(static_cast<int>(status.state)) + " with owner " +
                        std::to_string(status.owner));
            const bool keeps_end = ring::has_end_bytes(status.state) &&
                                   core.state().records[i].result_end > sizeof(ring::Record);
            require(!status.has(ring::Status::abandoned) || !keeps_end,
                    "record " + std::to_string(i) + " keeps the result of a dropped future");
        }
    }

    /// No block is owned or lost, except one for each of `deaths` workers.
    void check_payload(executor::PoolCore& core, std::uint64_t deaths) {
        const auto usage = core.state().payload.usage();
        if (core.record_counts().abandoned == 0) {
            require(usage.owned == 0, std::to_string(usage.owned) + " payload blocks are owned");
        }
        require(usage.lost <= deaths, std::to_string(usage.lost) +
                                          " payload blocks are lost after " +
                                          std::to_string(deaths) + " deaths");
    }

    [[nodiscard]] bool hold() const { return violations_.empty(); }
    [[nodiscard]] const std::string& violations() const { return violations_; }

private:
    std::string violations_;
};

} // namespace prong::test
