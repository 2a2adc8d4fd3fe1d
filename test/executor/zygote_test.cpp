// A program with a zygote. Each test's program is a child, so that this one stays without.

#include "codec/list.hpp"
#include "executor/helpers.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <prong/prong.hpp>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace prong::test;

namespace {

std::mutex held_mutex;

int take_held_mutex(int n) {
    const std::lock_guard lock(held_mutex);
    return n;
}

/// Threads that hold locks: malloc's at times, one stream's and `held_mutex` always.
class BusyThreads {
public:
    BusyThreads() {
        threads_.emplace_back([this] {
            const std::lock_guard lock(held_mutex);
            ++holding_;
            while (!over_) std::this_thread::sleep_for(1ms);
        });
        threads_.emplace_back([this] {
            flockfile(stdout);
            ++holding_;
            while (!over_) std::this_thread::sleep_for(1ms);
            funlockfile(stdout);
        });
        for (int i = 0; i < 2; ++i) {
            threads_.emplace_back([this] {
                ++holding_;
                while (!over_) std::vector<std::string>(100, std::string(100, 'x')).clear();
            });
        }
        require(eventually([&] { return holding_ == 4; }), "all threads are there");
    }
    BusyThreads(const BusyThreads&) = delete;
    BusyThreads& operator=(const BusyThreads&) = delete;
    ~BusyThreads() { over_ = true; } // then they are joined

private:
    std::atomic<bool> over_ = false;
    std::atomic<int> holding_ = 0;
    std::vector<std::jthread> threads_;
};

/// What needs the locks that the C library puts right in a fork.
int print_and_allocate(int n) {
    std::printf("task %d\n", n);
    std::fflush(stdout);
    const std::vector<std::string> allocated(10, std::string(100, 'y'));
    try {
        throw std::runtime_error("caught");
    } catch (const std::runtime_error&) {
        return n + static_cast<int>(allocated.size()) - 10;
    }
}

/// What needs all the locks that the busy threads hold.
int need_locks(int n) {
    return take_held_mutex(print_and_allocate(n));
}

/// Everything that a pool does with its processes: results, a death, a new worker, the end.
void use_pool(ProcessPoolExecutor& pool) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < 50; ++i) futures.push_back(pool.submit(square, i));
    auto dies = pool.submit([] { raise(SIGKILL); });
    for (int i = 0; i < 50; ++i) futures.push_back(pool.submit(square, i));
    for (int i = 0; i < 100; ++i) {
        const int n = i % 50;
        require(futures[static_cast<std::size_t>(i)].get() == n * n, "result");
    }
    require_throws<WorkerDied>([&] { dies.get(); }, "a task that kills its worker");
    require(pool.submit(square, 12).get() == 144, "a result after that");
}

void use_new_pool() {
    ProcessPoolExecutor pool(2);
    use_pool(pool);
}

/// This process's zygote, which may have been forked just now.
pid_t zygote() {
    pid_t pid = 0;
    const bool found = eventually([&] {
        for (const ProcessInfo& child : children_of(getpid())) {
            if (child.name == "prong-zygote" && child.state != 'Z') pid = child.pid;
        }
        return pid != 0;
    });
    require(found, "there is a zygote");
    return pid;
}

pid_t supervisor_in_zygote() {
    const pid_t supervisor = supervisor_of(zygote());
    require(supervisor != 0, "the zygote has one supervisor");
    return supervisor;
}

std::ptrdiff_t open_files(pid_t pid) {
    const auto directory = "/proc/" + std::to_string(pid) + "/fd";
    return std::distance(std::filesystem::directory_iterator(directory), {});
}

bool maps_memfd(pid_t pid) {
    std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find("memfd:prong") != std::string::npos) return true;
    }
    return false;
}

void kill_zygote() {
    const pid_t pid = zygote();
    kill(pid, SIGKILL);
    require(eventually([&] { return !is_running(pid); }), "the zygote is killed");
}

void limit_descriptors(pid_t pid, rlim_t count) {
    const rlimit limit{.rlim_cur = count, .rlim_max = 1024};
    require(prlimit(pid, RLIMIT_NOFILE, &limit, nullptr) == 0, "prlimit");
}

template <typename F>
void require_error(int code, F body) {
    try {
        body();
    } catch (const std::system_error& error) {
        require(error.code().value() == code, error.what());
        return;
    }
    throw std::runtime_error("no error");
}

/// A program for the test to kill: it writes its processes to shared memory.
struct Program {
    std::array<Counter, 5> pids{}; ///< itself, zygote, supervisor, two workers
    Counter ready{0};
};

} // namespace

TEST_CASE("threads of a busy program make pools, and no lock of theirs hangs a worker") {
    const ChildResult result = check_child([] {
        prong::start_zygote();
        const BusyThreads busy;
        std::vector<std::jthread> makers;
        std::atomic<int> good = 0;
        for (int maker = 0; maker < 4; ++maker) {
            makers.emplace_back([&good] {
                for (int i = 0; i < 5; ++i) {
                    ProcessPoolExecutor pool(2);
                    const auto results = pool.map(need_locks, std::views::iota(0, 20)).get();
                    for (int n = 0; n < 20; ++n) {
                        good += results.at(static_cast<std::size_t>(n)) == n;
                    }
                }
            });
        }
        makers.clear();
        require(good == 4 * 5 * 20, "all results");
    });
    CHECK(std::ranges::count(result.out, '\n') == 4 * 5 * 20);
}

TEST_CASE("without a zygote that program has what fork can give: no lock but the C library's") {
    if (address_sanitizer) return; // has its own locks
    check_child([] {
        const BusyThreads busy;
        for (int i = 0; i < 10; ++i) {
            ProcessPoolExecutor pool(2);
            const auto results = pool.map(print_and_allocate, std::views::iota(0, 20)).get();
            require(results.at(19) == 19, "results");
        }
        ProcessPoolExecutor pool(1);
        auto hangs = pool.submit(take_held_mutex, 1);
        require_throws<prong::TimeoutError>([&] { hangs.get_for(200ms); }, "a held mutex");
        pool.kill_workers();
        pool.shutdown();
        require_throws<WorkerDied>([&] { hangs.get(); }, "the hanging task");
    });
}

TEST_CASE("a pool from the zygote can all that a pool can") {
    check_child([] {
        prong::start_zygote();
        use_new_pool();
        const std::string text(3 << 20, 'x');
        ProcessPoolExecutor pool(PoolOptions{.max_workers = 2, .max_pending = 4});
        require(pool.submit([](std::string s) { return s + "y"; }, text).get() == text + "y",
                "large arguments and results");
        require(pool.map(square, std::views::iota(0, 1000)).get().at(999) == 999 * 999, "map");
        auto throws = pool.submit([] { throw std::out_of_range("beyond"); });
        require_throws<std::out_of_range>([&] { throws.get(); }, "a task that throws");
        auto ends = pool.submit([] { std::exit(3); });
        require_throws<WorkerDied>([&] { ends.get(); }, "a task that ends its process");
        pool.shutdown();
        require_throws<prong::PoolShutdown>([&] { pool.submit(square, 1); }, "after shutdown");

        ProcessPoolExecutor ended(1);
        auto running = ended.submit([] { pause(); });
        require(eventually([&] { return running.running(); }), "it runs");
        ended.terminate_workers();
        require_throws<WorkerDied>([&] { running.get(); }, "terminate_workers");

        ProcessPoolExecutor broken(PoolOptions{
            .max_workers = 1, .initializer = [] { throw std::runtime_error("tables"); }});
        const auto cause = require_throws<BrokenProcessPool>(
            [&] { broken.submit(square, 1).get(); }, "initializer"); // by either of the two
        require(cause.find("tables") != std::string::npos, "the error says why");
    });
}

TEST_CASE("a pool's options and its tasks' reach workers from the zygote") {
    check_child([] {
        static const Shared<Counter> starts; // before the zygote
        static const Shared<Counter> exits;
        prong::start_zygote();
        {
            ProcessPoolExecutor pool(PoolOptions{.max_workers = 1,
                                                 .max_tasks_per_worker = 1,
                                                 .on_worker_start = [] { ++*starts; },
                                                 .on_worker_exit = [] { ++*exits; }});
            const int first = pool.submit(pid_of_worker).get();
            require(pool.submit(pid_of_worker).get() != first, "a new worker for each task");
        }
        require(starts->load() >= 2 && exits->load() >= 2, "hooks have run");

        ProcessPoolExecutor pool(1);
        const auto with = [&pool](auto set) {
            TaskOptions options{.grace = 0ms};
            set(options);
            return pool.with(options);
        };
        auto late = with([](auto& o) { o.timeout = 10ms; }).submit([] { pause(); });
        require_throws<prong::TaskTimeout>([&] { late.get(); }, "a timeout");
        auto again = with([](auto& o) { o.max_retries = 1; }).submit([] {
            if (prong::this_task::attempt() == 1) raise(SIGKILL);
            return prong::this_task::attempt();
        });
        require(again.get() == 2, "another attempt");
        auto hungry = with([](auto& o) { o.limits.cpu_time = 20ms; }).submit([] {
            for (std::atomic<int> i = 0;; ++i) {
            }
        });
        require_throws<prong::LimitExceeded>([&] { hungry.get(); }, "a limit");
        auto killed = pool.submit([] { pause(); });
        require(eventually([&] { return killed.running(); }), "it runs");
        require(killed.kill(), "it is killed");
        auto dies = with([](auto& o) { o.capture_output = true; }).submit([] {
            std::puts("last words");
            std::fflush(stdout);
            raise(SIGKILL);
        });
        require(error_of<WorkerDied>(dies).last_output() == "last words\n", "output");

        ProcessPoolExecutor fragile(
            PoolOptions{.max_workers = 1, .on_worker_death = prong::OnWorkerDeath::break_pool});
        auto fatal = fragile.submit([] { raise(SIGKILL); });
        require_throws<BrokenProcessPool>([&] { fatal.get(); }, "a death that breaks the pool");
    });
}

TEST_CASE("a pool's processes are the zygote's, which keeps nothing of them") {
    check_child([] {
        prong::start_zygote();
        const pid_t pid = zygote();
        const auto files_before = open_files(pid);
        std::optional<ProcessPoolExecutor> pool(std::in_place, 2);
        use_pool(*pool);
        require(children_of(getpid()).size() == 1, "the program has no child but the zygote");
        require(workers_of(supervisor_in_zygote()).size() == 2, "two workers");
        require(eventually([&] { return open_files(pid) == files_before; }), "no more files");
        require(!maps_memfd(pid), "the zygote does not map the pool");
        pool.reset();
        for (int i = 0; i < 5; ++i) use_new_pool();
        require(eventually([&] { return open_files(pid) == files_before; }), "still");
        require(eventually([&] { return children_of(pid).empty(); }), "no zombie of a supervisor");
    });
}

TEST_CASE("workers have the descriptors that were open at start_zygote, and no others") {
    check_child([] {
        int ends[2];
        require(pipe2(ends, O_CLOEXEC) == 0, "a pipe");
        const auto files = open_files(getpid());
        prong::start_zygote();
        const int later = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ProcessPoolExecutor first(1);
        ProcessPoolExecutor pool(1);
        const auto in_worker = pool.submit([] { return open_files(getpid()); }).get();
        require(in_worker == files + 3, "as many, its capture of output, and two pipes to loops");
        const auto is_open = [](int fd) { return fcntl(fd, F_GETFD) >= 0; };
        require(pool.submit(is_open, ends[0]).get(), "the pipe");
        for (const int fd : {ends[0], ends[1], later}) close(fd);
    });
}

TEST_CASE("workers see the program as it was at start_zygote") {
    static int number = 1;
    check_child([] {
        setenv("PRONG_TEST_WORD", "early", 1);
        number = 2;
        const auto directory = std::filesystem::current_path();
        prong::start_zygote();
        setenv("PRONG_TEST_WORD", "late", 1);
        number = 3;
        std::filesystem::current_path("/");
        ProcessPoolExecutor pool(1);
        const auto word = [] { return std::string(std::getenv("PRONG_TEST_WORD")); };
        require(pool.submit(word).get() == "early", "environment");
        require(pool.submit([] { return number; }).get() == 2, "memory");
        const auto where = [] { return std::filesystem::current_path().string(); };
        require(pool.submit(where).get() == directory, "working directory");
    });
}

TEST_CASE("a pool's max_nesting reaches workers that are forked from a zygote") {
    check_child([] {
        prong::start_zygote();
        ProcessPoolExecutor pool(PoolOptions{.max_workers = 1, .max_nesting = 3'000});
        const Link list = pool.submit([](Link given) { return given; }, list_of(3'000)).get();
        require(count_links(list) == 3'000, "list");
        require_throws<prong::CodecError>([&] { pool.submit(count_links, list_of(3'001)); },
                                          "more than 3000");
    });
}

TEST_CASE("what is in the streams at start_zygote is written once") {
    const ChildResult result = check_child([] {
        std::printf("once\n");
        prong::start_zygote();
        std::printf("twice\n");
        use_new_pool();
        std::printf("thrice\n");
    });
    CHECK(result.out == "once\ntwice\nthrice\n");
}

TEST_CASE("start_zygote is refused to a program with threads, and does nothing the second time") {
    check_child([] {
        std::atomic<bool> over = false;
        std::jthread thread([&] { over.wait(false); });
        const auto text =
            require_throws<std::logic_error>([] { prong::start_zygote(); }, "threads");
        require(text.find("2 threads") != std::string::npos, text);
        over = true;
        over.notify_one();
        thread.join();

        prong::start_zygote();
        const pid_t pid = zygote();
        prong::start_zygote();
        require(zygote() == pid, "the same zygote");
        const BusyThreads busy;
        prong::start_zygote();
        require(zygote() == pid, "the same zygote, for threads too");
        use_new_pool();
    });
}

TEST_CASE("when the zygote is killed, pools continue, and a new one is refused at once") {
    check_child([] {
        prong::start_zygote();
        ProcessPoolExecutor pool(2);
        use_pool(pool);
        const auto supervisor = supervisor_in_zygote();
        kill_zygote();
        require(is_running(supervisor), "the supervisor continues");
        use_pool(pool);
        for (int i = 0; i < 2; ++i) {
            const auto text = require_throws<prong::Error>([] { ProcessPoolExecutor(1); }, "new");
            require(text.find("zygote") != std::string::npos, text);
        }
        require(children_of(getpid()).empty(), "no zombie is left");
        use_pool(pool);
        pool.shutdown();
        prong::start_zygote();
        use_new_pool();
    });
}

TEST_CASE("a zygote that is killed during a request fails the request") {
    check_child([] {
        prong::start_zygote();
        const pid_t pid = zygote();
        kill(pid, SIGSTOP);
        std::atomic<int> asking = 0;
        std::atomic<int> refused = 0;
        std::vector<std::jthread> makers;
        for (int i = 0; i < 3; ++i) {
            makers.emplace_back([&] {
                ++asking;
                require_throws<prong::Error>([] { ProcessPoolExecutor(1); }, "a pool");
                ++refused;
            });
        }
        require(eventually([&] { return asking == 3; }), "all ask");
        kill(pid, SIGKILL);
        makers.clear();
        require(refused == 3, "all are refused");
        require(children_of(getpid()).empty(), "nothing is left");
    });
}

TEST_CASE("a zygote is killed at random while pools are made and used") {
    const std::uint64_t seed = test_seed();
    for (std::uint64_t round = 0; round < (full_run() ? 3000 : 30); ++round) {
        check_child([&] {
            prctl(PR_SET_CHILD_SUBREAPER, 1); // what the zygote leaves behind is ours then
            prong::start_zygote();
            const pid_t pid = zygote();
            std::atomic<int> made = 0;
            std::vector<std::jthread> makers;
            for (int i = 0; i < 2; ++i) {
                makers.emplace_back([&] {
                    try {
                        for (;;) {
                            ProcessPoolExecutor pool(1);
                            ++made;
                            require(pool.submit(square, 3).get() == 9, "result");
                        }
                    } catch (const prong::Error&) {
                    }
                });
            }
            const int enough = static_cast<int>((seed + round) % 5);
            require(eventually([&] { return made >= enough; }), "pools are made");
            std::this_thread::sleep_for(std::chrono::microseconds((seed * 7 + round * 131) % 3000));
            kill(pid, SIGKILL);
            makers.clear();
            const bool is_alone = eventually([] {
                while (waitpid(-1, nullptr, WNOHANG) > 0) {
                }
                return children_of(getpid()).empty();
            });
            require(is_alone, "every supervisor has ended");
        });
    }
}

TEST_CASE("when the supervisor is killed no wait hangs, its workers end, and a new pool works") {
    check_child([] {
        const Shared<Gate> gate;
        prong::start_zygote();
        ProcessPoolExecutor pool(2);
        auto held = occupy(pool, gate);
        auto pending = pool.submit(square, 1);
        const pid_t supervisor = supervisor_in_zygote();
        const auto workers = workers_of(supervisor);
        std::jthread getter(
            [&] { require_throws<BrokenProcessPool>([&] { held[0].get(); }, "a running task"); });
        kill(supervisor, SIGKILL);
        getter.join();
        require_throws<BrokenProcessPool>([&] { pending.get(); }, "a queued task");
        require(eventually([&] { return std::ranges::none_of(workers, is_running); }), "gone");
        require(eventually([] { return children_of(zygote()).empty(); }), "no zombie is left");
        use_new_pool();
    });
}

TEST_CASE("when program, zygote and supervisor are killed, nothing is left") {
    prctl(PR_SET_CHILD_SUBREAPER, 1); // to find and reap what was left
    // Bits: the program, the zygote, the supervisor. Odd ones: those without it end by the test.
    const int victims = GENERATE(1, 2, 3, 4, 5, 6, 7);
    const bool has_copy = GENERATE(false, true);
    const Shared<Program> program;
    const pid_t pid = fork();
    if (pid == 0) {
        prong::start_zygote();
        ProcessPoolExecutor pool(2);
        const auto held = pool.submit([] { pause(); });
        if (has_copy && fork() == 0) { // holds the program's end of the connection
            while (program->ready < 2) std::this_thread::sleep_for(1ms);
            _exit(0);
        }
        const pid_t supervisor = supervisor_in_zygote();
        if (!eventually([&] { return workers_of(supervisor).size() == 2; })) _exit(1);
        const auto workers = workers_of(supervisor);
        program->pids[0] = getpid();
        program->pids[1] = zygote();
        program->pids[2] = supervisor;
        program->pids[3] = workers[0];
        program->pids[4] = workers[1];
        program->ready = 1;
        for (;;) pause();
    }
    REQUIRE(eventually([&] { return program->ready == 1; }));
    for (std::size_t i = 3; i-- > 0;) { // the program last
        if ((victims >> i & 1) != 0) kill(program->pids[i], SIGKILL);
    }
    CAPTURE(victims, has_copy);
    const auto are_gone = [&](std::size_t first, std::size_t last) {
        return eventually([&] {
            for (std::size_t i = first; i <= last; ++i) {
                if (is_running(program->pids[i])) return false;
            }
            return true;
        });
    };
    if ((victims & 1) != 0) CHECK(are_gone(0, 4));
    if ((victims & 4) != 0) CHECK(are_gone(2, 4));
    if ((victims & 5) == 0) {
        CHECK(are_gone(1, 1));
        CHECK(is_running(program->pids[2]));
    }
    kill(program->pids[0], SIGKILL);
    CHECK(are_gone(0, 4));
    program->ready = 2;
    CHECK(eventually([] {
        while (waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        return children_of(getpid()).empty();
    }));
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST_CASE("the zygote ends with a program that ends by itself, or becomes another") {
    for (const bool by_exec : {false, true}) {
        const Shared<Counter> zygote_pid;
        const Shared<Gate> gate;
        const pid_t pid = fork();
        if (pid == 0) {
            prong::start_zygote();
            *zygote_pid = zygote();
            use_new_pool();
            if (by_exec) execlp("sleep", "sleep", "60", nullptr);
            _exit(0);
        }
        REQUIRE(eventually([&] { return *zygote_pid != 0; }));
        CHECK(eventually([&] { return !is_running(*zygote_pid); }));
        if (by_exec) {
            CHECK(is_running(pid));
            kill(pid, SIGKILL);
        }
        waitpid(pid, nullptr, 0);
    }
}

TEST_CASE("a fork of the program has no zygote, unless it starts its own") {
    check_child([] {
        const Shared<Counter> ended;
        prong::start_zygote();
        ProcessPoolExecutor pool(1);
        const pid_t pid = fork();
        if (pid == 0) {
            try {
                ProcessPoolExecutor own(1);
                use_pool(own);
                require(supervisor_of(getpid()) != 0, "forked from here");
                own.shutdown();
                prong::start_zygote();
                use_new_pool();
                require(zygote() != 0, "its own zygote");
                *ended = 1;
            } catch (const std::exception& error) {
                std::fputs(error.what(), stderr);
            }
            _exit(0);
        }
        use_pool(pool);
        int status = 0;
        waitpid(pid, &status, 0);
        require(*ended == 1, "the fork's pools");
        use_new_pool();
        auto nested = pool.submit([] {
            ProcessPoolExecutor inner(1);
            return inner.submit(square, 5).get();
        });
        require(nested.get() == 25, "a pool that a task makes");
    });
}

TEST_CASE("a program that ignores SIGCHLD, or collects every child, may have a zygote") {
    check_child([] {
        std::signal(SIGCHLD, SIG_IGN);
        prong::start_zygote();
        use_new_pool();
        kill_zygote();
        require_throws<prong::Error>([] { ProcessPoolExecutor(1); }, "no zygote");
    });
    check_child([] {
        prong::start_zygote();
        std::atomic<bool> has_collected = false;
        std::jthread collector([&] {
            waitpid(-1, nullptr, 0);
            has_collected = true;
        });
        for (int i = 0; i < 3; ++i) use_new_pool();
        require(!has_collected, "no supervisor is the program's child");
        kill_zygote();
        collector.join();
        require_throws<prong::Error>([] { ProcessPoolExecutor(1); }, "no zygote");
    });
}

TEST_CASE("what the system denies the zygote, or the program, fails the one pool") {
    if (address_sanitizer) return; // needs descriptors and address space itself
    check_child([] {
        prong::start_zygote();
        use_new_pool();
        limit_descriptors(zygote(), 0);
        require_error(EMFILE, [] { ProcessPoolExecutor(1); });
        limit_descriptors(zygote(), 1024);
        use_new_pool();

        const int next = dup(STDIN_FILENO);
        close(next);
        const auto files = static_cast<rlim_t>(next);
        limit_descriptors(getpid(), files);
        require_error(EMFILE, [] { ProcessPoolExecutor(1); }); // no memfd
        limit_descriptors(getpid(), files + 1);
        require_error(EMFILE, [] { ProcessPoolExecutor(1); }); // no pidfd
        limit_descriptors(getpid(), 1024);
        require(eventually([] { return children_of(zygote()).empty(); }), "nothing is left");
        use_new_pool();

        const rlimit small{.rlim_cur = std::size_t{1} << 30, .rlim_max = RLIM_INFINITY};
        require(prlimit(zygote(), RLIMIT_AS, &small, nullptr) == 0, "prlimit");
        require_error(ENOMEM, [] { ProcessPoolExecutor(1); });
        const rlimit large{.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        require(prlimit(zygote(), RLIMIT_AS, &large, nullptr) == 0, "prlimit");
        use_new_pool();
    });
}
