// The system denies what a pool needs, or a pool is used until anything that it kept would show.

#include "base/fd.hpp"
#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/cgroup.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"
#include "support/sanitizer.hpp"

#include <prong/prong.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

using namespace prong::test;
using Catch::Matchers::Contains;

namespace {

constexpr std::size_t mebibyte = 1 << 20;
constexpr int skipped = 77;

void set_limit(int resource, rlim_t value) {
    rlimit limit{};
    getrlimit(static_cast<__rlimit_resource>(resource), &limit);
    limit.rlim_cur = value;
    if (setrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) {
        throw std::system_error(errno, std::generic_category(), "setrlimit");
    }
}

std::string repeated(const std::string& text, std::size_t size) {
    std::string result;
    while (result.size() < size) result += text;
    return result;
}

void die() {
    raise(SIGKILL);
}

/// Results, a death and a new worker, in a pool that is there.
void use(ProcessPoolExecutor& pool) {
    std::vector<Future<int>> futures;
    for (int i = 0; i < 50; ++i) futures.push_back(pool.submit(square, i));
    auto dies = pool.submit(die);
    for (int i = 0; i < 50; ++i) futures.push_back(pool.submit(square, i));
    for (int i = 0; i < 100; ++i)
        require(futures[static_cast<std::size_t>(i)].get() == i % 50 * (i % 50), "result");
    require_throws<WorkerDied>([&] { dies.get(); }, "a task that kills its worker");
    require(pool.submit(repeated, "abc", 3 * mebibyte).get().size() == 3 * mebibyte, "3 MiB");
}

/// All descriptors that this process may have, until it gives them back.
class AllDescriptors {
public:
    AllDescriptors() {
        for (int fd = 0; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;)
            descriptors_.emplace_back(fd);
    }

private:
    std::vector<prong::base::UniqueFd> descriptors_;
};

/// For a child process with a limited number of processes, which `limit` sets.
void lack_processes(const std::function<void(unsigned)>& limit) {
    const Shared<Gate> gate;
    {
        ProcessPoolExecutor pool(2);
        occupy(pool, gate);
        gate->open();
        const pid_t supervisor = supervisor_of(getpid());
        const auto count = [&] { return workers_of(supervisor).size(); };
        // One worker less: the other one does the work.
        limit(1);
        kill(workers_of(supervisor).front(), SIGKILL);
        require(eventually([&] { return count() == 1; }), "a worker has ended");
        for (int i = 0; i < 100; ++i) require(pool.submit(square, i).get() == i * i, "result");
        require(count() == 1, "no worker can be forked");
        limit(100);
        require(eventually([&] { return count() == 2; }), "the worker is replaced");
        use(pool);
        // None left: it is tried for a while, then the pool is given up.
        require(eventually([&] { return count() == 2; }), "two workers");
        limit(1);
        for (const pid_t worker : workers_of(supervisor)) kill(worker, SIGKILL);
        const std::string cause = require_throws<BrokenProcessPool>(
            [&] {
                for (;;) {
                    try {
                        pool.submit(square, 1).get();
                    } catch (const WorkerDied&) { // it was not dead yet
                    }
                }
            },
            "a pool that has no workers");
        require(cause.find("no worker can be forked") != std::string::npos &&
                    cause.find("allow more processes") != std::string::npos,
                "the cause is named, not " + cause);
    }
    const std::string refusal =
        require_throws<std::system_error>([] { ProcessPoolExecutor(1); }, "a new pool");
    require(refusal.find("fork") != std::string::npos, "what failed is named, not " + refusal);
    limit(100);
    ProcessPoolExecutor pool(2);
    use(pool);
}

/// Runs `body` with its own /dev/shm. Returns false if that is not possible.
bool with_shm(const char* options, unsigned long flags, const std::function<void()>& prepare,
              const std::function<void()>& body) {
    const ChildResult result = run_in_child([&] {
        if (unshare(CLONE_NEWNS) != 0 ||
            mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            mount("none", "/dev/shm", "tmpfs", 0, options) != 0) {
            return skipped;
        }
        prepare();
        if (flags != 0 && mount("none", "/dev/shm", "tmpfs", MS_REMOUNT | flags, options) != 0) {
            return skipped;
        }
        body();
        return 0;
    });
    if (result.exitcode == skipped) {
        WARN("may not mount a /dev/shm: not tested");
        return false;
    }
    INFO(result.err);
    CHECK(result.exitcode == 0);
    return true;
}

/// What a process holds that might grow.
struct Held {
    std::size_t descriptors;
    std::size_t mappings;
    std::size_t resident_bytes;
    std::size_t processes; ///< its children, zombies too

    static Held by(pid_t pid) {
        const std::filesystem::path folder = "/proc/" + std::to_string(pid);
        Held held{.descriptors = 0, .mappings = 0, .resident_bytes = 0, .processes = 0};
        for ([[maybe_unused]] const auto& entry :
             std::filesystem::directory_iterator(folder / "fd"))
            ++held.descriptors;
        std::ifstream maps(folder / "maps");
        for (std::string line; std::getline(maps, line);) ++held.mappings;
        std::size_t size = 0;
        std::ifstream(folder / "statm") >> size >> held.resident_bytes;
        held.resident_bytes *= static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        held.processes = children_of(pid).size();
        return held;
    }
};

/// Some slack for what caches keep: far less than a page, or a descriptor, for each of many times.
void check_not_grown(pid_t pid, const Held& before) {
    // What a task has started may be dying, now or at the time of `before`.
    CHECK(eventually([&] { return Held::by(pid).processes <= before.processes; }));
    const Held after = Held::by(pid);
    CHECK(after.descriptors == before.descriptors);
    CHECK(after.mappings <= before.mappings + 8);
    if (!address_sanitizer) CHECK(after.resident_bytes <= before.resident_bytes + 2 * mebibyte);
}

} // namespace

TEST_CASE("a pool that is there works on without a free descriptor in the program") {
    if (address_sanitizer) return; // needs descriptors itself
    check_child([] {
        set_limit(RLIMIT_NOFILE, 64);
        ProcessPoolExecutor pool(2);
        {
            const AllDescriptors all;
            use(pool);
            for (int i = 0; i < 3; ++i) {
                const std::string refusal =
                    require_throws<std::system_error>([] { ProcessPoolExecutor(1); }, "a new pool");
                require(refusal.find("Too many open files") != std::string::npos,
                        "the cause is named, not " + refusal);
            }
            auto captured = pool.with({.capture_output = true}).submit(square, 5);
            require(captured.get() == 25, "a task with captured output");
        }
        ProcessPoolExecutor other(1);
        use(other);
        use(pool);
    });
}

TEST_CASE("a pool made with too few descriptors says so or works, and leaves none open") {
    if (address_sanitizer) return; // needs descriptors itself
    check_child([] {
        const auto open_now = [] { return Held::by(getpid()).descriptors; };
        const std::size_t before = open_now();
        int refused = 0;
        for (rlim_t most = 3; most < 16; ++most) {
            rlimit limit{};
            getrlimit(RLIMIT_NOFILE, &limit);
            const rlim_t usual = limit.rlim_cur;
            set_limit(RLIMIT_NOFILE, most);
            try {
                ProcessPoolExecutor pool(1);
                require(pool.submit(square, 3).get() == 9, "result");
            } catch (const std::system_error&) {
                ++refused;
            } catch (const BrokenProcessPool&) {
                ++refused;
            }
            set_limit(RLIMIT_NOFILE, usual);
            require(open_now() == before, "no descriptor is left open");
        }
        require(refused > 0 && refused < 13, "some are enough, not " + std::to_string(refused));
    });
}

TEST_CASE("a program without address space gets an error for a pool, and no harm") {
    if (address_sanitizer) return; // needs terabytes of address space itself
    check_child([] {
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        const std::size_t now = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        ProcessPoolExecutor there(1);
        std::ifstream("/proc/self/statm") >> pages;
        set_limit(RLIMIT_AS, pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + mebibyte);
        const std::string refusal =
            require_throws<std::system_error>([] { ProcessPoolExecutor(1); }, "a new pool");
        require(refusal.find("memory") != std::string::npos, "the cause is named, not " + refusal);
        for (int i = 0; i < 100; ++i) require(there.submit(square, i).get() == i * i, "result");
        require_throws<WorkerDied>([&] { there.submit(die).get(); }, "a task that dies");
        require(there.submit(square, 4).get() == 16, "a result of the next worker");
        set_limit(RLIMIT_AS, RLIM_INFINITY);
        ProcessPoolExecutor pool(1);
        use(pool);
        require(now > 0, "there is a size");
    });
}

TEST_CASE("workers die and come again in a memory cgroup that their tasks fill") {
    if (address_sanitizer) return;
    const Cgroup cgroup(Cgroup::memory, 64 * mebibyte);
    if (!cgroup.available()) {
        WARN("no memory cgroup can be made here: not tested");
        return;
    }
    check_child([&cgroup] {
        require(cgroup.enter(), "may enter the cgroup");
        ProcessPoolExecutor pool(3);
        const auto take = [](std::size_t bytes) {
            const std::unique_ptr<volatile char[]> memory(new volatile char[bytes]);
            for (std::size_t i = 0; i < bytes; i += 1024) memory[i] = 1;
            return bytes;
        };
        std::vector<Future<std::size_t>> large;
        std::vector<Future<int>> small;
        for (int i = 0; i < 30; ++i) {
            large.push_back(pool.with({.max_retries = i % 2}).submit(take, 200 * mebibyte));
            for (int k = 0; k < 10; ++k)
                small.push_back(pool.with({.max_retries = 1000}).submit(square, k));
        }
        for (std::size_t i = 0; i < large.size(); ++i) {
            try {
                large[i].get();
                throw std::runtime_error("200 MiB found room in 64");
            } catch (const WorkerDied& death) {
                require(i % 2 == 0 && death.out_of_memory(), "lack of memory is reported");
            } catch (const prong::PoisonedTask& poison) {
                require(i % 2 == 1 && poison.deaths().back().out_of_memory,
                        "lack of memory is reported after a retry");
            }
        }
        for (std::size_t i = 0; i < small.size(); ++i)
            require(small[i].get() == static_cast<int>(i % 10 * (i % 10)), "result");
    });
}

TEST_CASE("when no process can be forked the pool works on, recovers, or says that it is broken") {
    const Cgroup cgroup(Cgroup::processes, 100);
    if (!cgroup.available()) {
        WARN("no cgroup for processes can be made here: not tested");
        return;
    }
    check_child([&cgroup] {
        require(cgroup.enter(), "may enter the cgroup");
        lack_processes(
            [&](unsigned most) { require(cgroup.set_limit(most), "may set the limit"); });
    });
}

TEST_CASE("the same for a user who may not have more processes") {
    if (geteuid() != 0) {
        WARN("may not become a user without processes: not tested");
        return;
    }
    check_child([] {
        const auto nobody_else = static_cast<uid_t>(1'000'000'000 + getpid());
        require(setresuid(nobody_else, nobody_else, nobody_else) == 0, "becomes another user");
        const pid_t tester = getpid();
        lack_processes([tester](unsigned most) {
            rlimit limit{};
            getrlimit(RLIMIT_NPROC, &limit);
            limit.rlim_cur = most;
            // Each process has its own limit.
            for (const ProcessInfo& process : children_of(tester))
                require(prlimit(process.pid, RLIMIT_NPROC, &limit, nullptr) == 0, "prlimit");
            require(setrlimit(RLIMIT_NPROC, &limit) == 0, "setrlimit");
        });
    });
}

TEST_CASE("a /dev/shm that is full, read-only or not there is no limit") {
    const auto use_pool = [] {
        ProcessPoolExecutor pool(2);
        use(pool);
    };
    const auto fill = [] {
        std::ofstream file("/dev/shm/full");
        while (file << std::string(4096, 'x') << std::flush) {
        }
    };
    if (!with_shm("size=64k", 0, fill, use_pool)) return;
    with_shm(
        "size=64k", MS_RDONLY, [] {}, use_pool);
    with_shm(
        "size=64k", 0,
        [] {
            rmdir("/dev/shm/.");
            umount("/dev/shm");
        },
        use_pool);
}

TEST_CASE("nothing grows while pools are made and ended, one after the other") {
    const int pools = how_often(300, 10'000);
    const auto make_one = [](int i) {
        ProcessPoolExecutor pool(1 + i % 3);
        if (i % 4 != 3) REQUIRE(pool.submit(square, i % 100).get() == i % 100 * (i % 100));
        if (i % 10 == 0) pool.kill_workers();
    };
    for (int i = 0; i < 50; ++i) make_one(i);
    const Held before = Held::by(getpid());
    for (int i = 0; i < pools; ++i) make_one(i);
    check_not_grown(getpid(), before);
    std::cout << pools << " pools were made and ended\n";
}

TEST_CASE("nothing grows while workers die") {
    const int deaths = how_often(2000, 100'000);
    const Shared<Gate> gate;
    ProcessPoolExecutor pool(4);
    const auto die_in_some_way = [](int i) {
        if (i % 5 == 0) _exit(3);
        if (i % 5 == 1) std::abort();
        if (i % 5 == 2 && fork() == 0)
            for (;;) pause();
        raise(i % 5 == 3 ? SIGTERM : SIGKILL);
    };
    const auto kill_some = [&](int count) {
        std::vector<Future<void>> futures;
        for (int i = 0; i < count; ++i) {
            if (futures.size() == 20) {
                for (auto& future : futures) REQUIRE_THROWS_AS(future.get(), prong::Error);
                futures.clear();
            }
            TaskOptions options{.capture_output = i % 7 == 0};
            if (i % 3 == 0) options.max_retries = 1;
            futures.push_back(pool.with(options).submit(die_in_some_way, i));
        }
        for (auto& future : futures) REQUIRE_THROWS_AS(future.get(), prong::Error);
    };
    const auto rest = [&] { // all workers are there
        gate->close();
        auto held = occupy(pool, gate);
        gate->open();
        results_of(held);
    };
    const pid_t supervisor = supervisor_of(getpid());
    kill_some(300);
    rest();
    const Held program = Held::by(getpid());
    const Held of_supervisor = Held::by(supervisor);
    kill_some(deaths);
    rest();
    check_not_grown(getpid(), program);
    check_not_grown(supervisor, of_supervisor);
    std::cout << deaths << " tasks have killed their workers\n";
}
