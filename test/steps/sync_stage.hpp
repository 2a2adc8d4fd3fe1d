#pragma once

#include "executor/helpers.hpp"
#include "executor/invariants.hpp"
#include "os/futex.hpp"
#include "steps/curtain.hpp"
#include "steps/tally.hpp"
#include "steps/tracee.hpp"
#include "support/catch.hpp"
#include "sync/member.hpp"

#include <prong/lock.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>

namespace prong::test {

/// How long anything may take that must happen at all.
inline std::chrono::milliseconds patience = std::chrono::seconds(20);

/// A process beside the victim that does something, such as waiting.
class Companion {
public:
    explicit Companion(const std::function<void()>& body) : pid_(fork()) {
        if (pid_ < 0) throw std::runtime_error("fork");
        if (pid_ != 0) return;
        try {
            body();
        } catch (const std::exception& error) {
            std::cerr << "a companion threw: " << error.what() << std::endl;
            _exit(1);
        }
        _exit(0);
    }
    Companion(const Companion&) = delete;
    Companion& operator=(const Companion&) = delete;
    ~Companion() { kill(); }

    [[nodiscard]] pid_t pid() const { return pid_; }
    /// Waits until it sleeps.
    void await_sleep() const {
        const auto is_asleep = [this] {
            return std::ranges::any_of(children_of(getpid()), [this](const ProcessInfo& child) {
                return child.pid == pid_ && child.state == 'S';
            });
        };
        if (!eventually(is_asleep)) throw std::runtime_error("a companion does not wait");
    }
    /// Returns whether it has ended in order.
    [[nodiscard]] bool ends() {
        int status = -1;
        const auto limit = std::chrono::steady_clock::now() + patience;
        while (waitpid(pid_, &status, WNOHANG) == 0) {
            if (std::chrono::steady_clock::now() > limit) return false;
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        is_reaped_ = true;
        return status == 0;
    }
    void kill() {
        if (is_reaped_) return;
        ::kill(pid_, SIGKILL);
        waitpid(pid_, nullptr, 0);
        is_reaped_ = true;
    }
    /// Another part of the test has collected it.
    void forget() { is_reaped_ = true; }

private:
    pid_t pid_;
    bool is_reaped_ = false;
};

/// How far the victim came.
struct Fate {
    pid_t pid;
    bool returned; ///< whether `act` had certainly returned; else it may have
};

/// An operation that a victim is killed in. Made anew for each point.
class SyncTrial {
public:
    SyncTrial() = default;
    SyncTrial(const SyncTrial&) = delete;
    SyncTrial& operator=(const SyncTrial&) = delete;
    virtual ~SyncTrial() = default;

    /// In the victim, before the curtain goes up, and here at the same time.
    virtual void prepare() { sync::this_member(); }
    virtual void prepare_beside() {}
    /// Here, when the victim is prepared.
    virtual void begin() {}
    /// In the victim: the way.
    virtual void act() = 0;
    /// Here, when the victim first goes to sleep. Must end its wait.
    virtual void at_sleep() {}
    /// Here, when the victim is at the point.
    virtual void strike(Tracee& victim) { victim.kill(); }
    /// Here: what must hold then.
    virtual void check(Fate fate, Invariants& invariants) = 0;
};

/// The victim of a trial.
class Victim {
public:
    explicit Victim(SyncTrial& trial) : trial_(trial), pid_(fork()) {
        if (pid_ < 0) throw std::runtime_error("fork");
        if (pid_ == 0) become_victim();
        try {
            trial_.prepare_beside();
            if (!board_->gate.await_arrivals(1)) throw std::runtime_error("no victim");
            trial_.begin();
            tracee_ = Tracee(pid_);
            tracee_.interrupt();
            board_->gate.open();
            tracee_.run_to({.places = {address_of(&curtain_up)}});
        } catch (...) {
            kill(pid_, SIGKILL);
            tracee_.forget();
            waitpid(pid_, nullptr, __WALL);
            throw;
        }
    }
    Victim(const Victim&) = delete;
    Victim& operator=(const Victim&) = delete;
    ~Victim() {
        if (!tracee_.is_empty()) tracee_.kill();
    }

    Path record() { return tracee_.record(halt_); }
    bool run_to(const Point& point) { return tracee_.run_to(point, halt_); }
    void strike() { trial_.strike(tracee_); }
    [[nodiscard]] Fate fate() const { return {.pid = pid_, .returned = board_->returned}; }

private:
    struct Board {
        Gate gate;
        std::atomic<bool> returned{false};
    };

    [[noreturn]] void become_victim() {
        try {
            trial_.prepare();
            board_->gate.pass();
            curtain_up();
            trial_.act();
            board_->returned = true;
            curtain_down();
            for (;;) pause();
        } catch (const std::exception& error) {
            std::cerr << "the victim threw: " << error.what() << std::endl;
        }
        _exit(1);
    }

    bool goes_on() {
        if (tracee_.address() == address_of(&curtain_down)) return false;
        if (++sleeps_ == 1) trial_.at_sleep();
        if (sleeps_ > 12) throw std::runtime_error("the victim waits for ever");
        return true;
    }

    SyncTrial& trial_;
    Shared<Board> board_;
    pid_t pid_;
    Tracee tracee_;
    int sleeps_ = 0;
    Halt halt_{.places = {address_of(&curtain_down), address_of(&os::futex_wait),
                          address_of(&os::futex_wait_any)},
               .go_on = [this] { return goes_on(); }};
};

/// Tries a trial at points of its victim's way.
template <typename Trial>
Tally try_points(const std::string& what, const Share& share) {
    Path path;
    {
        Trial trial;
        Victim victim(trial);
        path = victim.record();
    }
    Tally tally;
    for (const Point& point : sample(path, share)) {
        Invariants invariants;
        bool reached = false;
        try {
            // Waits spin for a time that depends on others, so the way is not always the same.
            for (int attempt = 0; attempt < 3 && !reached && invariants.hold(); ++attempt) {
                Trial trial;
                Victim victim(trial);
                reached = victim.run_to(point);
                victim.strike();
                static_cast<SyncTrial&>(trial).check(victim.fate(), invariants);
            }
        } catch (const std::exception& error) {
            invariants.require(false, error.what());
        }
        tally.count(point, reached, invariants);
    }
    tally.print(what, path.size());
    return tally;
}

/// `try_points` where nothing must go wrong.
template <typename Trial>
void require_none_wrong(const char* what, std::size_t few = 15, std::size_t most = 4000) {
    const Tally tally = try_points<Trial>(what, {.few = few, .most = most});
    INFO(what << "\n" << tally.examples());
    CHECK(tally.points() > 0);
    CHECK(tally.violations() == 0);
}

/// `try_points` of a mutant. Returns how often it goes wrong. Nobody waits long for what never
/// happens.
template <typename Trial>
std::size_t violations(const char* what, const Share& share = {.few = 60, .most = 60}) {
    const auto before = std::exchange(patience, std::chrono::milliseconds(300));
    const Tally tally = try_points<Trial>(what, share);
    patience = before;
    UNSCOPED_INFO(tally.examples());
    CHECK(tally.points() > 0);
    return tally.violations();
}

/// What a lock protects: who is inside.
class Section {
public:
    /// `after_death`: whether the lock was taken from a process that died inside.
    void enter(bool after_death) {
        if (inside_->exchange(getpid()) != 0 && !after_death) was_shared_->store(true);
    }
    void leave() { inside_->store(0); }
    void check(Invariants& invariants) const {
        invariants.require(!was_shared_->load(), "two hold the lock");
    }

private:
    Shared<std::atomic<int>> inside_;
    Shared<std::atomic<bool>> was_shared_;
};

/// Whose death the next holder of a lock must be told, if any.
enum class Told { never, perhaps, certainly };

/// Checks that a lock can be acquired twice, and what is told of the dead.
template <typename Lock>
void check_recovers(const Lock& lock, Section& section, Told told,
                    std::initializer_list<pid_t> dead, Invariants& invariants) {
    const Acquired acquired = lock.acquire_for(patience);
    if (!acquired) return invariants.require(false, "the lock is never free again");
    section.enter(acquired.previous_died());
    invariants.require(told != Told::certainly || acquired.previous_died(),
                       "the death of a holder is not told");
    invariants.require(told != Told::never || !acquired.previous_died(),
                       "a death is told though the dead held nothing");
    if (acquired.previous_died()) {
        invariants.require(std::ranges::count(dead, acquired.who().pid) != 0,
                           "the death of another is told");
        invariants.require(lock.abandoned(), "the lock is not abandoned");
        lock.mark_consistent();
    }
    section.leave();
    lock.release();
    const Acquired again = lock.acquire_for(patience);
    invariants.require(again && !again.previous_died() && !lock.abandoned(),
                       "the lock is not as new");
    if (again) lock.release();
    section.check(invariants);
}

} // namespace prong::test
