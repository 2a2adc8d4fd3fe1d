#pragma once

#include "executor/core_pool.hpp"
#include "executor/helpers.hpp"
#include "executor/invariants.hpp"
#include "steps/curtain.hpp"
#include "steps/scenario.hpp"
#include "steps/stage.hpp"
#include "steps/tally.hpp"
#include "steps/tracee.hpp"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <utility>

namespace prong::test {

/// What a parent does with its pool of one worker, and what must come of it whenever the worker
/// dies.
struct Script {
    const char* name;
    void (*act)(CorePool& pool, RunCounts& runs, Invariants& invariants);
    bool ends_pool = false;
};

/// A process that makes a pool and plays, again and again, with the pool's processes: all of them
/// in the harness's hand. While the parent is on its way, the worker stands at the door; when the
/// parent goes to sleep, it does what there is to do.
class ProcessTree {
public:
    explicit ProcessTree(const Script& script, CorePool::Supervise supervise = {})
        : play_(script), supervise_(std::move(supervise)) {
        std::cout.flush();
        const pid_t pid = fork();
        if (pid < 0) throw std::runtime_error("fork");
        if (pid == 0) become_parent();
        parent_ = Tracee(pid);
        gate_->open();
        await_pool();
    }
    ProcessTree(const ProcessTree&) = delete;
    ProcessTree& operator=(const ProcessTree&) = delete;
    ~ProcessTree() {
        if (!parent_.is_empty()) parent_.kill(); // the others follow when they are let go
    }

    Tracee& parent() { return parent_; }
    Tracee& supervisor() { return supervisor_; }
    Tracee& worker() { return worker_.tracee(); }

    /// From where the parent first goes to sleep, or from the beginning if there is work already:
    /// to the worker's next sleep.
    Path way_of_worker() {
        to_first_sleep();
        Path way = worker().record(door);
        to_curtain_down();
        return way;
    }
    /// From curtain to curtain, as far as there is a worker to be killed.
    Path way_of_parent() {
        const Halt until_no_worker{.places = on_the_way_.places, .go_on = [this] {
                                       return !at(&os::wait_readable) || !play_.ends_pool
                                                  ? on_the_way_.go_on()
                                                  : false;
                                   }};
        Path way = parent_.record(until_no_worker);
        to_curtain_down();
        return way;
    }

    /// From the beginning of the act.
    void to_first_sleep() {
        if (worker_.is_called()) return;
        parent_.run_to({.places = door.places, .go_on = [this] { return !worker_.is_called(); }});
    }
    /// Returns whether it has come there, and not to the curtain.
    bool bring_parent_to(const Point& point) { return parent_.run_to(point, on_the_way_); }
    bool bring_worker_to(const Point& point) {
        const bool reached = worker().run_to(point, door);
        require_worker();
        return reached;
    }
    /// From any point of the parent.
    void to_curtain_down() {
        if (at(&curtain_down)) return;
        parent_goes_on();
        parent_.run_to(on_the_way_);
    }
    /// Returns what the parent has found wrong in the act that has ended.
    std::string to_next_act() {
        to_curtain_down();
        if (play_.ends_pool) {
            parent_.resume(); // without breakpoints, which those that it forks would inherit
            await_pool();
        } else {
            parent_.run_to(on_the_way_);
        }
        if (!at(&curtain_up)) throw std::runtime_error("the parent does not come to its next act");
        return board_->violations.data();
    }

    /// At the door: whether it has been woken.
    [[nodiscard]] bool worker_is_called() { return !worker().is_empty() && worker_.is_called(); }

    /// The worker is killed, and the replacement, if there is to be one, has done what there was.
    void kill_worker() {
        if (worker().is_empty()) return; // it has left, since the pool is to end
        worker().kill();
        auto next = supervisor_.await_fork_or_end();
        if (!next) return; // the pool is to end, and there was nothing left to do
        supervisor_.resume();
        worker() = *std::move(next);
        worker_to_door();
    }

private:
    /// In shared memory.
    struct Board {
        RunCounts runs;
        std::array<char, 1000> violations;
    };

    template <typename Function>
    [[nodiscard]] bool at(Function* function) const {
        return parent_.address() == address_of(function);
    }

    /// In the parent: what it is.
    [[noreturn]] void become_parent() {
        try {
            gate_->pass();
            for (;;) play_with_new_pool();
        } catch (const std::exception& error) {
            std::cerr << "the parent threw: " << error.what() << std::endl;
        }
        _exit(1);
    }

    void play_with_new_pool() {
        CorePool pool(1, supervise_);
        Invariants invariants;
        check_accepts_work(pool, invariants);
        std::uint64_t acts = 0;
        do {
            for (Counter& runs : board_->runs) runs = 0;
            play_.act(pool, board_->runs, invariants);
            if (!play_.ends_pool) {
                check_accepts_work(pool, invariants);
                invariants.check_at_rest(pool.core(), ++acts);
            }
            board_->violations.fill(0);
            invariants.violations().copy(board_->violations.data(), board_->violations.size() - 1);
        } while (!play_.ends_pool);
    }

    void check_accepts_work(CorePool& pool, Invariants& invariants) {
        Counter& runs = board_->runs.back();
        runs = 0;
        Expected task = submit_echo(pool, runs, "a new task", next_value());
        invariants.check(task);
    }

    /// The parent runs and makes a pool: takes that in hand, and brings the parent to the curtain.
    void await_pool() {
        supervisor_ = parent_.await_fork();
        parent_.set_out(on_the_way_.places);
        supervisor_.resume();
        worker() = supervisor_.await_fork();
        supervisor_.resume();
        worker_.to_door();
        parent_.arrive();
        if (on_the_way_.go_on()) parent_.run_to(on_the_way_);
    }

    void worker_to_door() {
        worker_.to_door();
        require_worker();
    }
    /// It may only leave when the pool is to end.
    void require_worker() {
        if (worker().is_empty() && !play_.ends_pool)
            throw std::runtime_error("the worker has ended");
    }

    bool parent_goes_on() {
        if (at(&curtain_up) || at(&curtain_down)) {
            vain_sleeps_ = 0;
            return false;
        }
        if (at(&os::wait_readable)) {
            if (play_.ends_pool) { // it waits for them
                supervisor_.detach();
                worker().detach();
            }
        } else if (at(&os::futex_wait) && worker_is_called()) {
            worker_to_door();
            vain_sleeps_ = 0;
        } else if (at(&os::futex_wait) && ++vain_sleeps_ > 12) {
            throw std::runtime_error("the parent waits for ever");
        }
        return true;
    }

    Script play_;
    CorePool::Supervise supervise_;
    Shared<Gate> gate_;
    Shared<Board> board_;
    Tracee parent_;
    Tracee supervisor_;
    Puppet worker_{Tracee()};
    int vain_sleeps_ = 0; ///< of the parent, while the worker had nothing to do
    Halt on_the_way_{.places = {address_of(&os::futex_wait), address_of(&os::wait_readable),
                                address_of(&curtain_up), address_of(&curtain_down)},
                     .go_on = [this] { return parent_goes_on(); }};
};

} // namespace prong::test
