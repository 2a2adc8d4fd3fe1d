// Processes use all kinds of objects at once, while an adversary kills, stops and continues them at
// random. PRONG_SEED repeats the adversary's choices, PRONG_CHAOS_SECONDS sets how long it rages.

#include "support/catch.hpp"
#include "support/environment.hpp"
#include "sync/chaos_items.hpp"
#include "sync/family.hpp"

#include <prong/barrier.hpp>
#include <prong/condition.hpp>
#include <prong/event.hpp>
#include <prong/lock.hpp>
#include <prong/semaphore.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <mutex>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace prong::test;
using namespace std::chrono_literals;
using prong::Acquired;

namespace {

using Random = std::mt19937_64;
using Clock = std::chrono::steady_clock;

constexpr int processes = 6;
constexpr int limit = 2; ///< permits

std::chrono::milliseconds time_of_chaos() {
    const char* const seconds = std::getenv("PRONG_CHAOS_SECONDS");
    if (seconds != nullptr) return std::chrono::seconds(std::atoi(seconds));
    return std::chrono::milliseconds(how_often(2000, 60000));
}

/// What the processes and the adversary tell each other.
struct Board {
    std::array<std::atomic<bool>, 1 << 22> dead; ///< processes that die now, or are dead
    std::atomic<bool> ends;
    std::atomic<std::uint64_t> operations;
    std::atomic<int> violations;
    std::array<char, 200> first_violation;

    [[nodiscard]] bool is_dead(int pid) const {
        return pid > 0 && static_cast<std::size_t>(pid) < dead.size() &&
               dead[static_cast<std::size_t>(pid)];
    }
    void require(bool holds, const std::string& otherwise) {
        if (holds || violations.fetch_add(1) != 0) return;
        otherwise.copy(first_violation.data(), first_violation.size() - 1);
    }
};

/// What the objects protect.
struct Protected {
    std::atomic<int> in_lock; ///< the process inside, or 0
    std::atomic<int> in_recursive;
    std::array<std::atomic<int>, limit> with_permit;
    std::atomic<int> items;
};

/// The objects, what they protect, and what the processes do with them.
class Play {
public:
    /// Until the end, unless it is killed: two threads that do what chance says.
    void take_part(std::uint64_t seed) {
        std::thread other([&] { act(Random(seed)); });
        act(Random(seed + 1));
        other.join();
    }

    /// Ends all waits that have no timeout.
    void end_waits() {
        board->ends = true;
        queue_.close();
        simple_.close();
        joinable_.close();
        event_.set();
        const std::scoped_lock guard(condition_.lock());
        condition_.notify_all();
    }

    /// When all processes have ended.
    void check_at_rest() {
        board->require(bool(lock_.acquire_for(patience)), "the lock is never free");
        board->require(recursive_.try_lock_for(patience), "the recursive lock is never free");
        board->require(bounded_.value() == limit, "there are " + std::to_string(bounded_.value()) +
                                                      " permits instead of " +
                                                      std::to_string(limit));
        for (int i = 0; i < limit; ++i)
            board->require(bounded_.try_acquire(), "a free permit is not given");
        board->require(!bounded_.try_acquire(), "a permit too many is given");
        board->require(condition_.lock().try_lock_for(patience), "the condition is locked");
        queue_.check_at_rest(require_);
        simple_.check_at_rest(require_);
        joinable_.check_at_rest(require_);
        board->require(semaphore_.value() >= 0 && semaphore_.value() <= signals_->load(),
                       "there are more permits than were released");
    }

    const Shared<Board> board;

private:
    void act(Random random) {
        try {
            while (!board->ends) {
                act_once(random);
                board->operations.fetch_add(1);
            }
        } catch (const std::exception& error) {
            board->require(false, error.what());
        }
    }

    void act_once(Random& random) {
        switch (random() % 11) {
        case 0:
            return use_lock(lock_.acquire(), random);
        case 1:
            if (const Acquired acquired = lock_.acquire_for(1ms)) use_lock(acquired, random);
            return;
        case 2:
            return use_recursive(random);
        case 3:
            return use_permit(random);
        case 4:
            if (!semaphore_.try_acquire_for(1ms)) {
                signals_->fetch_add(1);
                semaphore_.release();
            }
            return;
        case 5:
            return use_event(random);
        case 6:
            return use_condition(random);
        case 7:
            return queue_.use(random, require_);
        case 8:
            return simple_.use(random, require_);
        case 9:
            return joinable_.use(random, require_);
        default:
            return use_barrier();
        }
    }

    static void dwell(Random& random) {
        if (random() % 4 == 0)
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
    }

    void check_death(const prong::DeadHolder& dead) {
        board->require(board->is_dead(dead.pid),
                       "the death of process " + std::to_string(dead.pid) + " is told");
    }

    void use_lock(const Acquired& acquired, Random& random) {
        const int before = state_->in_lock.exchange(getpid());
        if (acquired.previous_died()) {
            check_death(acquired.who());
            board->require(lock_.abandoned(), "a death is told, but the lock is not abandoned");
            lock_.mark_consistent();
        } else {
            board->require(before == 0, "two processes hold a lock");
        }
        dwell(random);
        state_->in_lock = 0;
        lock_.release();
    }

    void use_recursive(Random& random) {
        const std::scoped_lock guard(recursive_);
        const int before = state_->in_recursive.exchange(getpid());
        if (before != 0) board->require(recursive_.abandoned(), "two hold a recursive lock");
        if (before != 0) board->require(board->is_dead(before), "a living holder is replaced");
        recursive_.mark_consistent();
        {
            const std::scoped_lock again(recursive_);
            dwell(random);
        }
        state_->in_recursive = 0;
    }

    void use_permit(Random& random) {
        const prong::Permit permit = bounded_.permit();
        // Again and again: others come and go while this looks.
        for (std::size_t i = 0; i < 1000 * limit; ++i) {
            std::atomic<int>& place = state_->with_permit[i % limit];
            int before = place;
            if (before != 0 && !board->is_dead(before)) continue;
            if (!place.compare_exchange_strong(before, getpid())) continue;
            dwell(random);
            place = 0;
            return;
        }
        board->require(false, "more hold a permit than there are");
    }

    void use_event(Random& random) {
        if (random() % 2 == 0) {
            event_.set();
        } else if (random() % 2 == 0) {
            if (!board->ends) event_.clear();
            if (board->ends) event_.set(); // the end came in between
        } else if (event_.wait_for(1ms)) {
            return;
        } else {
            event_.set();
            static_cast<void>(event_.wait_for(patience));
        }
    }

    void use_condition(Random& random) {
        std::unique_lock guard(condition_.lock());
        if (random() % 2 == 0) {
            ++state_->items;
            condition_.notify_one();
        } else {
            condition_.wait(guard, [&] { return state_->items > 0 || board->ends; });
            if (state_->items > 0) --state_->items;
        }
    }

    void use_barrier() {
        try {
            barrier_.wait_for(20ms);
        } catch (const prong::BrokenBarrier& error) {
            if (error.who().pid != 0) check_death(error.who());
            barrier_.reset();
        }
    }

    prong::Lock lock_;
    prong::RLock recursive_;
    prong::BoundedSemaphore bounded_{limit};
    prong::Semaphore semaphore_{0};
    prong::Event event_;
    prong::Condition condition_;
    prong::Barrier barrier_{3};
    CountedQueue<prong::Queue<Item>> queue_{"Queue", prong::Queue<Item>(4)};
    CountedQueue<prong::SimpleQueue<Item>> simple_{"SimpleQueue", {}};
    CountedQueue<prong::JoinableQueue<Item>> joinable_{"JoinableQueue",
                                                       prong::JoinableQueue<Item>()};
    const std::function<void(bool, const std::string&)> require_ =
        [this](bool holds, const std::string& otherwise) { board->require(holds, otherwise); };
    const Shared<Protected> state_;
    const Shared<std::atomic<std::int64_t>> signals_;
};

/// The processes of a play, and what is done to them.
class Company {
public:
    Company(Play& play, std::uint64_t seed) : play_(&play), random_(seed) {
        for (int i = 0; i < processes; ++i) pids_.push_back(start());
    }

    /// Returns how many signals were sent.
    std::uint64_t rage(std::chrono::milliseconds time) {
        std::uint64_t signals = 0;
        for (const auto end = Clock::now() + time; Clock::now() < end; ++signals) {
            pid_t& pid = pids_[random_() % pids_.size()];
            switch (random_() % 4) {
            case 0:
                kill(pid);
                pid = start();
                break;
            case 1:
                ::kill(pid, SIGSTOP);
                break;
            default:
                ::kill(pid, SIGCONT);
            }
            std::this_thread::sleep_for(std::chrono::microseconds(random_() % 4000));
        }
        for (const pid_t pid : pids_) ::kill(pid, SIGCONT);
        return signals;
    }

    /// All must end by themselves.
    void await_end() {
        const auto end = Clock::now() + patience;
        for (const pid_t pid : pids_) {
            int status = -1;
            while (waitpid(pid, &status, WNOHANG) == 0) {
                if (Clock::now() > end) {
                    play_->board->require(false, "a wait does not end");
                    kill(pid);
                    break;
                }
                std::this_thread::sleep_for(1ms);
            }
            play_->board->require(status == 0, "a process failed");
        }
    }

private:
    pid_t start() {
        const std::uint64_t seed = random_();
        const pid_t pid = fork();
        if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
        if (pid != 0) return pid;
        play_->take_part(seed);
        play_->board->dead[static_cast<std::size_t>(getpid())] = true;
        _exit(0);
    }

    void kill(pid_t pid) {
        play_->board->dead[static_cast<std::size_t>(pid)] = true;
        ::kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }

    Play* play_;
    Random random_;
    std::vector<pid_t> pids_;
};

} // namespace

TEST_CASE("all objects at once, while processes are killed, stopped and continued") {
    Play play;
    Company company(play, test_seed());
    const std::uint64_t signals = company.rage(time_of_chaos());
    play.end_waits();
    company.await_end();
    play.check_at_rest();
    std::cout << "sync chaos: " << play.board->operations << " operations, " << signals
              << " signals, " << play.board->violations << " violations" << std::endl;
    INFO(play.board->first_violation.data());
    CHECK(play.board->violations == 0);
}
