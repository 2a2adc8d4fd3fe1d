#include "faults/scenarios.hpp"

#include "faults/live.hpp"
#include "faults/shared_scenarios.hpp"

#include <prong/prong.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iostream>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace prong::test {
namespace {

using namespace std::chrono_literals;

using Numbers = std::vector<int>;

Numbers numbers(std::size_t count) {
    Numbers all(count);
    std::iota(all.begin(), all.end(), 1);
    return all;
}

Numbers reversed(const Numbers& all) {
    return {all.rbegin(), all.rend()};
}

constexpr std::size_t large = 300'000;

int throw_error(int n) {
    throw std::runtime_error("no " + std::to_string(n));
}

/// Kills its worker while that writes it as a result, which by then is large.
struct Deadly {
    template <typename Archive>
    void save(Archive& archive) const {
        archive(numbers(large));
        raise(SIGKILL);
    }
    template <typename Archive>
    void load(Archive&) {}
};

Deadly die_with_large_result() {
    return {};
}

bool is_death_by_sigkill(const WorkerDied& error) {
    return error.signal() == SIGKILL;
}

/// A task that has been submitted, and what it must give.
template <typename R>
struct Task {
    Future<R> future;
    R expected;
};

/// The steps with one pool, each of which may fail by itself.
class PoolUser {
public:
    PoolUser(Judge& judge, PoolOptions options) : judge_(judge) {
        judge_.attempt("make a pool", [&] { pool_.emplace(std::move(options)); });
    }

    explicit operator bool() const { return pool_.has_value(); }
    ProcessPoolExecutor& operator*() { return *pool_; }

    template <typename R, typename F, typename... Args>
    std::optional<Task<R>> submit(R expected, F f, const Args&... args) {
        std::optional<Task<R>> task;
        judge_.attempt("submit", [&] { task.emplace(pool_->submit(f, args...), expected); });
        return task;
    }

    template <typename R>
    void check(std::optional<Task<R>>& task) {
        if (!task) return;
        judge_.attempt("get", [&] { judge_.require("get", task->future.get() == task->expected); });
    }

    template <typename E, typename F, typename Predicate, typename... Args>
    void check_error(std::string_view name, F f, Predicate is_right, const Args&... args) {
        judge_.attempt_error<E>(
            name, [&] { static_cast<void>(pool_->submit(f, args...).get()); }, is_right);
    }

    void cancel_one() {
        std::optional<Task<int>> task = submit(49, square, 7);
        if (!task) return;
        bool cancelled = false;
        judge_.attempt("cancel", [&] { cancelled = task->future.cancel(); });
        if (!cancelled) return check(task);
        judge_.attempt_error<CancelledError>(
            "get after cancel", [&] { task->future.get(); }, [](const auto&) { return true; });
    }

    void wait_for_many() {
        std::vector<Future<int>> futures;
        for (int i = 0; i < 6; ++i) {
            judge_.attempt("submit", [&] { futures.push_back(pool_->submit(square, i)); });
        }
        judge_.attempt("wait", [&] {
            const WaitResult result = wait(futures, ReturnWhen::first_completed);
            judge_.require("wait", futures.empty() || !result.done.empty());
        });
        judge_.attempt("as_completed", [&] {
            int sum = 0;
            std::size_t count = 0;
            for (Future<int>& future : as_completed(futures)) {
                judge_.attempt("get", [&] { sum += future.get(); });
                ++count;
            }
            judge_.require("as_completed", count == futures.size());
            const bool all = judge_.demand() == Demand::works;
            judge_.require("as_completed", sum == 55 || (!all && sum < 55));
        });
    }

    /// Waits for futures together with a descriptor that is never readable.
    void wait_together() {
        const auto slow = [](int n) {
            std::this_thread::sleep_for(2ms);
            return n;
        };
        std::vector<Future<int>> futures;
        for (int i = 0; i < 3; ++i) {
            judge_.attempt("submit", [&] { futures.push_back(pool_->submit(slow, i)); });
        }
        judge_.attempt("wait for others, too", [&] {
            const auto [near, far] = Pipe();
            for (Future<int>& future : futures)
                judge_.require("wait", wait({near, future}) == std::vector<std::size_t>{1});
        });
    }

    void map_squares() {
        judge_.attempt("map", [&] {
            int expected = 0;
            for (const int got : pool_->map(square, std::views::iota(0, 300))) {
                judge_.require("map", got == expected * expected);
                ++expected;
            }
            judge_.require("map", expected == 300);
        });
    }

    /// Nothing of the pool may be left after it.
    void end() {
        const bool ended = judge_.attempt("shutdown", [&] { pool_->shutdown(); });
        if (ended) {
            judge_.attempt_error<Error>(
                "submit after shutdown", [&] { static_cast<void>(pool_->submit(square, 1)); },
                [](const auto&) { return true; });
        }
        pool_.reset();
    }

private:
    Judge& judge_;
    std::optional<ProcessPoolExecutor> pool_;
};

void use_pool(Judge& judge, const Shared<Gate>&) {
    PoolUser user(judge, PoolOptions{.max_workers = 2, .max_pending = 4});
    if (!user) return;
    std::vector<std::optional<Task<int>>> small;
    for (int i = 0; i < 10; ++i) small.push_back(user.submit(i * i, square, i));
    const Numbers argument = numbers(large);
    auto reversing = user.submit(reversed(argument), reversed, argument);
    for (auto& task : small) user.check(task);
    user.check(reversing);
    std::this_thread::sleep_for(1ms); // so that workers fall asleep
    user.check_error<std::runtime_error>(
        "get of a task that throws", throw_error,
        [](const auto& error) { return std::string(error.what()) == "no 5"; }, 5);
    user.check_error<WorkerDied>("get of a task that dies", die_with_large_result,
                                 is_death_by_sigkill);
    user.cancel_one();
    user.wait_for_many();
    user.wait_together();
    user.map_squares();
    user.end();
}

/// Until one of the tasks is running, or has failed.
void await_start(Judge& judge, const std::vector<Future<int>>& futures, const Shared<Gate>& gate) {
    const auto has_failed = [](const Future<int>& future) { return future.done(); };
    judge.attempt("done", [&] {
        judge.require("start", futures.empty() || eventually([&] {
                                   return gate->arrivals() > 0 ||
                                          std::ranges::any_of(futures, has_failed);
                               }));
    });
}

template <void (ProcessPoolExecutor::*End)()>
void end_pool(Judge& judge, const Shared<Gate>& gate) {
    PoolUser user(judge, PoolOptions{.max_workers = 2});
    if (!user) return;
    std::vector<Future<int>> futures;
    for (int i = 0; i < 4; ++i) {
        judge.attempt("submit", [&] { futures.push_back((*user).submit(pass(gate))); });
    }
    await_start(judge, futures, gate);
    if (!judge.attempt("end", [&] { ((*user).*End)(); })) gate->open();
    for (auto& future : futures) {
        judge.attempt_error<Error>(
            "get", [&] { static_cast<void>(future.get()); },
            [](const Error& error) {
                const auto* const died = dynamic_cast<const WorkerDied*>(&error);
                return died == nullptr || died->signal() == SIGKILL || died->signal() == SIGTERM;
            });
    }
    user.end();
}

void use_two_pools(Judge& judge, const Shared<Gate>&) {
    std::array<PoolUser, 2> users{PoolUser(judge, PoolOptions{.max_workers = 1}),
                                  PoolUser(judge, PoolOptions{.max_workers = 1})};
    if (!users[0] || !users[1]) return;
    std::vector<Future<int>> futures;
    const auto slow = [](int n) {
        std::this_thread::sleep_for(2ms);
        return n;
    };
    for (int i = 0; i < 6; ++i) {
        judge.attempt("submit", [&] {
            futures.push_back((*users[static_cast<std::size_t>(i) % 2]).submit(slow, i));
        });
    }
    judge.attempt("as_completed", [&] {
        int sum = 0;
        for (Future<int>& future : as_completed(futures)) {
            judge.attempt("get", [&] { sum += future.get(); });
        }
        judge.require("as_completed", sum == 15 || judge.demand() == Demand::may_fail);
    });
    for (PoolUser& user : users) user.end();
}

void flood(Judge& judge, const Shared<Gate>&) {
    PoolUser user(judge, PoolOptions{.max_workers = 2});
    if (!user) return;
    judge.attempt("flood", [&] {
        std::vector<Future<int>> futures;
        for (int i = 0; i < 70'000; ++i) futures.push_back((*user).submit(square, i % 1000));
        int expected = 0;
        for (auto& future : futures) {
            judge.require("get", future.get() == expected * expected);
            expected = (expected + 1) % 1000;
        }
    });
    auto after = user.submit(9, square, 3);
    user.check(after);
    user.end();
}

int hang() {
    for (;;) pause();
}

int compute_for_ever() {
    for (volatile unsigned n = 0;;) n = n + 1;
}

int want_too_much() {
    const std::string memory(64 << 20, 'x');
    std::this_thread::sleep_for(1s);
    return memory.front();
}

int crash_twice() {
    if (this_task::attempt() <= 2) raise(SIGKILL);
    return this_task::attempt();
}

int speak_and_die() {
    std::cout << "last words" << std::endl;
    return raise(SIGKILL);
}

/// Whether this worker writes where it did before a task's output was captured.
bool has_its_output() {
    std::this_thread::sleep_for(2ms); // the others are for the other worker
    std::array<char, 64> target{};
    const ssize_t size = readlink("/proc/self/fd/1", target.data(), target.size() - 1);
    return size > 0 && std::string_view(target.data()).find("memfd") == std::string_view::npos;
}

/// Nothing of the last words if there was no capture.
bool has_last_words(const WorkerDied& error) {
    return error.last_output() == "last words\n" ||
           (error.last_output().empty() && board().injected > 0);
}

void use_options(Judge& judge, const Shared<Gate>&) {
    PoolUser user(judge, PoolOptions{.max_workers = 2});
    if (!user) return;
    const auto get = [&](const TaskOptions& options, int (*task)()) {
        return (*user).with(options).submit(task).get();
    };
    const auto always = [](const auto&) { return true; };
    judge.attempt_error<TaskTimeout>(
        "timeout", [&] { get({.timeout = 20ms, .grace = 5ms}, hang); }, always);
    judge.attempt("retries",
                  [&] { judge.require("retries", get({.max_retries = 2}, crash_twice) == 3); });
    judge.attempt_error<LimitExceeded>(
        "memory", [&] { get({.limits = {.memory_bytes = 8 << 20}}, want_too_much); }, always);
    judge.attempt_error<LimitExceeded>(
        "cpu_time", [&] { get({.limits = {.cpu_time = 10ms}}, compute_for_ever); }, always);
    for (int i = 0; i < 2; ++i) {
        judge.attempt("within limits", [&] {
            const TaskOptions options{
                .limits = {.memory_bytes = 4 << 20, .cpu_time = 10s, .max_file_bytes = 1 << 30},
                .capture_output = true};
            const auto task = [](int n) {
                std::this_thread::sleep_for(15ms); // long enough to be looked at
                return n;
            };
            judge.require("within limits", (*user).with(options).submit(task, i).get() == i);
        });
    }
    judge.attempt("output", [&] {
        std::vector<Future<bool>> futures;
        for (int i = 0; i < 4; ++i) futures.push_back((*user).submit(has_its_output));
        for (auto& future : futures) judge.require("output", future.get());
    });
    judge.attempt_error<WorkerDied>(
        "capture", [&] { get({.capture_output = true}, speak_and_die); }, has_last_words);
    std::optional<Future<int>> unwanted;
    judge.attempt("submit", [&] { unwanted.emplace((*user).submit(hang)); });
    if (unwanted && judge.attempt("kill", [&] { unwanted->kill(); })) {
        judge.attempt_error<CancelledError>(
            "get of a killed one", [&] { unwanted->get(); }, always);
    }
    user.end();
}

/// The harness sees whether all processes end.
void die_with_pool(Judge& judge, const Shared<Gate>& gate) {
    PoolUser user(judge, PoolOptions{.max_workers = 2});
    if (!user) return;
    std::vector<Future<int>> futures;
    judge.attempt("submit", [&] { futures.push_back((*user).submit(pass(gate))); });
    await_start(judge, futures, gate);
    _exit(0);
}

void lose_supervisor(Judge& judge, const Shared<Gate>& gate) {
    PoolUser user(judge, PoolOptions{.max_workers = 2});
    if (!user) return;
    std::vector<Future<int>> futures;
    for (int i = 0; i < 4; ++i) {
        judge.attempt("submit", [&] { futures.push_back((*user).submit(pass(gate))); });
    }
    await_start(judge, futures, gate);
    const pid_t supervisor = supervisor_of(getpid());
    if (supervisor > 0) kill(supervisor, SIGKILL);
    for (auto& future : futures) {
        judge.attempt_error<BrokenProcessPool>(
            "get", [&] { static_cast<void>(future.get()); }, [](const auto&) { return true; });
    }
    user.end();
}

constexpr int wrong_message = 3;
constexpr std::string_view text = "short message";

/// In a child: sends back what it gets, if that is what was sent.
void echo(Connection connection) {
    try {
        for (;;) {
            const auto bytes = connection.recv_bytes();
            const std::string message(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            if (message != text && message != std::string(3'000'000, 'x'))
                std::_Exit(wrong_message);
            connection.send_bytes(message);
        }
    } catch (const EndOfFile&) { // as it should be
    } catch (const std::system_error& error) {
        if (error.code().value() != EPIPE) throw; // as well, if the other end has met an error
    }
}

void exchange(Judge& judge, Connection& connection) {
    for (const std::string& message :
         {std::string(text), std::string(3'000'000, 'x'), std::string(text)}) {
        // An error does not keep from sending the next one.
        if (!judge.attempt("send", [&] { connection.send_bytes(message); })) continue;
        const bool received = judge.attempt("recv", [&] {
            judge.require("wait", wait({connection}, 20s).size() == 1);
            const auto bytes = connection.recv_bytes();
            const std::string_view got(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            judge.require("recv", got == message);
        });
        if (!received) return;
    }
}

void use_process(Judge& judge, const Shared<Gate>&) {
    judge.attempt("Pipe", [&] {
        auto [ours, theirs] = Pipe();
        Process process(echo, std::move(theirs));
        live(judge, process, 0, [&judge, &ours = ours] {
            exchange(judge, ours);
            ours.close();
        });
    });
    Process dying([] { raise(SIGKILL); });
    live(judge, dying, -SIGKILL, [] {});
    Process daemon([] {
        for (;;) pause();
    });
    daemon.set_daemon(true);
    live(judge, daemon, -SIGKILL, [&] {
        judge.attempt("is_alive", [&] { static_cast<void>(daemon.is_alive()); });
        judge.attempt("kill", [&] { daemon.kill(); });
    });
    judge.attempt("active_children", [&] { judge.require("none", active_children().empty()); });
}

constexpr Call calls_that_end[] = {Call::fork,  Call::poll,    Call::waitid,
                                   Call::kill,  Call::setpgid, Call::pidfd_send_signal,
                                   Call::prctl, Call::read,    Call::futex_wait};
constexpr Call calls_of_last_words[] = {Call::poll,    Call::read,  Call::kill,
                                        Call::setpgid, Call::prctl, Call::waitid};
constexpr Call calls_that_see_death[] = {Call::poll, Call::waitid, Call::futex_wait,
                                         Call::pidfd_send_signal};
constexpr Call calls_for_options[] = {Call::open,      Call::dup,          Call::pread,
                                      Call::fcntl,     Call::memfd_create, Call::ftruncate,
                                      Call::getrlimit, Call::setrlimit};
constexpr Call calls_that_wait[] = {Call::futex_wait, Call::futex_waitv, Call::poll};
constexpr Call calls_that_tidy[] = {Call::madvise};
constexpr Call calls_of_objects[] = {
    Call::memfd_create, Call::ftruncate, Call::fcntl, Call::mmap,       Call::mremap,
    Call::munlock,      Call::madvise,   Call::close, Call::futex_wait, Call::futex_waitv,
    Call::pidfd_open,   Call::getrandom, Call::stat,  Call::getrlimit,  Call::open};
constexpr Call calls_of_shared_memory[] = {Call::shm_open, Call::shm_unlink, Call::fallocate,
                                           Call::flock,    Call::mmap,       Call::fcntl};
constexpr Call calls_that_listen[] = {
    Call::accept,    Call::bind,       Call::connect,     Call::epoll_create,
    Call::epoll_ctl, Call::epoll_wait, Call::getsockname, Call::listen,
    Call::send,      Call::setsockopt, Call::socket,
};
constexpr Call calls_that_serve[] = {
    Call::accept, Call::connect, Call::getrandom, Call::poll,
    Call::recv,   Call::sendmsg, Call::socket,    Call::thread,
};
constexpr Call calls_for_address[] = {Call::bind, Call::socket, Call::getrandom};

constexpr Scenario scenarios[] = {
    {"pool", use_pool, Role::supervisor, {}},
    {"kill", end_pool<&ProcessPoolExecutor::kill_workers>, Role::supervisor, calls_that_end},
    {"terminate", end_pool<&ProcessPoolExecutor::terminate_workers>, Role::supervisor,
     calls_that_end},
    {"two_pools", use_two_pools, Role::supervisor, calls_that_wait},
    {"options", use_options, Role::supervisor, calls_for_options},
    {"flood", flood, Role::supervisor, calls_that_tidy},
    {"parent_dies", die_with_pool, Role::supervisor, calls_of_last_words},
    {"supervisor_dies", lose_supervisor, Role::supervisor, calls_that_see_death},
    {"process", use_process, Role::child, {}},
    {"objects", use_objects, Role::child, calls_of_objects},
    {"shared_memory", use_shared_memory, Role::child, calls_of_shared_memory},
    {"listener", use_listener, Role::child, calls_that_listen, calls_for_address},
    {"manager", use_manager, Role::child, calls_that_serve, calls_for_address},
};

// What each of these does wrong

/// Takes an error for a result.
void lose_a_task(Judge& judge, const Shared<Gate>&) {
    ProcessPoolExecutor pool(2);
    int got = 0;
    try {
        got = pool.submit(square, 3).get();
    } catch (const Error&) { // as if nothing had happened
    }
    judge.require("get", got == 9);
}

/// Tries again for ever.
void hang(Judge&, const Shared<Gate>&) {
    for (;;) {
        try {
            ProcessPoolExecutor pool(1);
            pool.submit(square, 3).get();
            return;
        } catch (const std::exception&) {
            std::this_thread::sleep_for(1ms);
        }
    }
}

/// Lets the error go where it must not.
void crash(Judge&, const Shared<Gate>&) noexcept {
    static_cast<void>(ProcessPoolExecutor(2).submit(square, 3).get());
}

/// Says nothing of what happened.
void throw_nonsense(Judge& judge, const Shared<Gate>&) {
    judge.attempt("make a pool", [] {
        try {
            ProcessPoolExecutor pool(2);
        } catch (const std::system_error&) {
            throw std::runtime_error("something went wrong");
        }
    });
}

/// Forgets what it had when the error came.
template <typename Leave>
void leave_behind(Leave leave) {
    try {
        ProcessPoolExecutor pool(2);
    } catch (const std::system_error&) {
        leave();
    }
}
void leave_descriptor(Judge&, const Shared<Gate>&) {
    leave_behind([] { static_cast<void>(dup(STDOUT_FILENO)); });
}
void leave_mapping(Judge&, const Shared<Gate>&) {
    leave_behind([] { mmap(nullptr, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0); });
}
void leave_process(Judge&, const Shared<Gate>&) {
    leave_behind([] {
        board().armed = false;
        if (fork() == 0)
            for (;;) pause();
    });
}
void leave_zombie(Judge&, const Shared<Gate>&) {
    leave_behind([] {
        board().armed = false;
        if (fork() == 0) _exit(0);
    });
}

constexpr Scenario bad[] = {
    {"lose_a_task", lose_a_task, Role::supervisor, {}},
    {"hang", hang, Role::supervisor, {}},
    {"crash", crash, Role::supervisor, {}},
    {"throw_nonsense", throw_nonsense, Role::supervisor, {}},
    {"leave_descriptor", leave_descriptor, Role::supervisor, {}},
    {"leave_mapping", leave_mapping, Role::supervisor, {}},
    {"leave_process", leave_process, Role::supervisor, {}},
    {"leave_zombie", leave_zombie, Role::supervisor, {}},
};

} // namespace

std::span<const Scenario> all_scenarios() {
    return scenarios;
}

Demand demand_of(const Scenario& scenario, Call call, Demand usual) {
    const bool needs_it = std::ranges::find(scenario.needs, call) != scenario.needs.end();
    return needs_it ? Demand::may_fail : usual;
}

std::span<const Scenario> bad_scenarios() {
    return bad;
}

} // namespace prong::test
