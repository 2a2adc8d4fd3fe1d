#include <prong/shared_memory.hpp>

#include "proc/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"

#include <prong/process.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

using namespace prong::test;
using prong::Process;
using prong::SharedMemory;

namespace {

constexpr int skipped = 77;
constexpr const char* name_variable = "PRONG_TEST_SHARED_MEMORY";
constexpr mode_t mark = S_ISVTX; ///< of a segment whose creator has not closed it

/// A name that no other test has; free again at the end.
class Name {
public:
    Name() : text_("prong-test-" + std::to_string(getpid())) { free(); }
    Name(const Name&) = delete;
    Name& operator=(const Name&) = delete;
    ~Name() { free(); }

    operator const std::string&() const { return text_; }
    [[nodiscard]] std::string path() const { return "/" + text_; }
    void free() const { shm_unlink(path().c_str()); }

private:
    std::string text_;
};

/// Returns 0, or the error with which the call fails.
template <typename F>
int error_of(F call) {
    try {
        call();
    } catch (const std::system_error& error) {
        return error.code().value();
    }
    return 0;
}

int open_error(const std::string& name) {
    return error_of([&] { (void)SharedMemory::open(name); });
}

/// Creates memory and leaves the name behind.
int create_error(const std::string& name, std::size_t size = 100) {
    return error_of([&] { (void)SharedMemory::create(name, size); });
}

void put(const SharedMemory& memory, char letter) {
    std::ranges::fill(memory.bytes(), static_cast<std::byte>(letter));
}

bool has_only(const SharedMemory& memory, char letter) {
    return std::ranges::all_of(memory.bytes(),
                               [&](std::byte b) { return b == static_cast<std::byte>(letter); });
}

/// Creates memory in a process that is killed at once.
void create_and_die(const std::string& name) {
    const ChildResult result = run_in_child([&] {
        const SharedMemory memory = SharedMemory::create(name, 5000);
        return raise(SIGKILL);
    });
    REQUIRE(result.exitcode == -SIGKILL);
}

/// Creates a file as another library does.
void create_foreign(const Name& name, off_t size, mode_t mode = 0600) {
    const int fd = shm_open(name.path().c_str(), O_RDWR | O_CREAT | O_EXCL, mode);
    REQUIRE(fd >= 0);
    CHECK(ftruncate(fd, size) == 0);
    close(fd);
}

/// A process that is killed at the end.
class Victim {
public:
    template <typename F>
    explicit Victim(F body) : process_(std::move(body)) {
        process_.start();
    }
    Victim(const Victim&) = delete;
    Victim& operator=(const Victim&) = delete;
    ~Victim() {
        process_.kill();
        process_.join();
    }
    [[nodiscard]] std::optional<int> exitcode() const { return process_.exitcode(); }

private:
    Process process_;
};

/// Runs with a /dev/shm of 64 KiB. Returns false if that is not possible.
bool check_with_small_shm(const std::function<void()>& body) {
    const ChildResult result = run_in_child([&] {
        if (unshare(CLONE_NEWNS) != 0 ||
            mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
            mount("none", "/dev/shm", "tmpfs", 0, "size=64k") != 0) {
            return skipped;
        }
        body();
        return 0;
    });
    INFO(result.err);
    CHECK((result.exitcode == 0 || result.exitcode == skipped));
    return result.exitcode != skipped;
}

} // namespace

TEST_CASE("shared memory is created, opened, closed and unlinked") {
    const Name name;
    SharedMemory memory = SharedMemory::create(name, 5000);
    CHECK(memory.name() == static_cast<const std::string&>(name));
    CHECK(memory.size() == 5000);
    CHECK(memory.bytes().size() == 5000);
    CHECK(has_only(memory, 0));
    put(memory, 'x');
    {
        const SharedMemory same = SharedMemory::open(name.path());
        CHECK(same.size() == 5000);
        CHECK(has_only(same, 'x'));
        same.bytes()[4999] = std::byte{'y'};
    }
    CHECK(memory.bytes()[4999] == std::byte{'y'});
    CHECK(create_error(name) == EEXIST);
    CHECK(memory.bytes()[4999] == std::byte{'y'});
    memory.close();
    memory.close();
    CHECK(memory.size() == 0);
    CHECK(memory.bytes().empty());

    const SharedMemory later = SharedMemory::open(name); // it stays until it is unlinked
    CHECK(later.size() == 5000);
    memory.unlink();
    CHECK(open_error(name) == ENOENT);
    CHECK(error_of([&] { memory.unlink(); }) == ENOENT);
    CHECK(later.bytes()[0] == std::byte{'x'});
}

TEST_CASE("shared memory without a name gets one") {
    const SharedMemory first = SharedMemory::create(100);
    const SharedMemory second = SharedMemory::create(100);
    CHECK(first.name() != second.name());
    put(first, 'a');
    CHECK(has_only(SharedMemory::open(first.name()), 'a'));
    first.unlink();
    second.unlink();
}

TEST_CASE("shared memory moves") {
    SharedMemory first = SharedMemory::create(100);
    SharedMemory second = std::move(first);
    CHECK(second.size() == 100);
    CHECK(first.size() == 0);
    CHECK(first.name().empty());
    CHECK_THROWS_AS(first.unlink(), std::logic_error);
    first.close();
    first = std::move(second);
    CHECK(first.size() == 100);
    first.unlink();
}

TEST_CASE("what another program writes to shared memory", "[.]") {
    const SharedMemory memory = SharedMemory::open(std::getenv(name_variable));
    REQUIRE(has_only(memory, 'a'));
    put(memory, 'b');
}

TEST_CASE("programs that are no relatives share memory") {
    const SharedMemory memory = SharedMemory::create(100'000);
    put(memory, 'a');
    setenv(name_variable, memory.name().c_str(), 1);
    const ChildResult result = run_self({"what another program writes to shared memory"});
    INFO(result.out + result.err);
    CHECK(result.exitcode == 0);
    CHECK(has_only(memory, 'b'));
    memory.unlink();
}

TEST_CASE("a program in Python shares the memory") {
    const SharedMemory memory = SharedMemory::create(1000);
    const std::string script = "from multiprocessing.shared_memory import SharedMemory\n"
                               "memory = SharedMemory('" +
                               memory.name() +
                               "')\n"
                               "assert memory.size == 1000\n"
                               "memory.buf[:] = b'p' * 1000\n"
                               "memory.close()\n";
    const ChildResult result = run_in_child([&] {
        execlp("python3", "python3", "-c", script.c_str(), nullptr);
        return skipped;
    });
    if (result.exitcode == skipped) {
        WARN("there is no python3: not tested");
    } else {
        INFO(result.err);
        CHECK(result.exitcode == 0);
        CHECK(has_only(memory, 'p'));
    }
    static_cast<void>(error_of([&] { memory.unlink(); })); // Python has unlinked it perhaps
}

TEST_CASE("a name or size that is not valid is refused in words") {
    const auto refuse = [](const std::string& name) {
        CHECK_THROWS_WITH(SharedMemory::create(name, 1), Catch::Contains("a name has 1 to 250"));
        CHECK_THROWS_AS(SharedMemory::open(name), std::invalid_argument);
    };
    refuse("");
    refuse("/");
    refuse("a/b");
    refuse("//a");
    refuse("..");
    refuse(std::string("a\0b", 3));
    refuse(std::string(251, 'x'));
    const std::string longest(250, 'x');
    SharedMemory::create(longest, 1).unlink();
    CHECK_THROWS_AS(SharedMemory::create(0), std::invalid_argument);
    const Name name;
    CHECK(create_error(name, std::numeric_limits<std::size_t>::max()) != 0);
    CHECK(open_error(name) == ENOENT);
}

TEST_CASE("unlink does not remove the memory of another program that has the name by now") {
    const Name name;
    const SharedMemory first = SharedMemory::create(name, 100);
    first.unlink();
    const SharedMemory second = SharedMemory::create(name, 200);
    CHECK(error_of([&] { first.unlink(); }) == ENOENT);
    CHECK(SharedMemory::open(name).size() == 200);
    second.unlink();
}

TEST_CASE("memory that a killed program has left is replaced when no process uses it") {
    const Name name;
    create_and_die(name);
    std::optional<SharedMemory> user(SharedMemory::open(name)); // what it wrote may be of use
    CHECK(user->size() == 5000);
    CHECK(create_error(name) == EEXIST);
    user.reset();
    const SharedMemory memory = SharedMemory::create(name, 100);
    CHECK(SharedMemory::open(name).size() == 100);
}

TEST_CASE("memory that its creator has closed is not replaced") {
    const Name name;
    SharedMemory::create(name, 5000).close();
    CHECK(create_error(name) == EEXIST);
    CHECK(SharedMemory::open(name).size() == 5000);
}

TEST_CASE("a forked process that closes its copy is not the creator") {
    const Name name;
    const ChildResult result = run_in_child([&] {
        SharedMemory memory = SharedMemory::create(name, 5000);
        const pid_t child = fork();
        if (child == 0) {
            memory.close();
            _exit(0);
        }
        waitpid(child, nullptr, 0);
        return raise(SIGKILL);
    });
    REQUIRE(result.exitcode == -SIGKILL);
    CHECK(create_error(name) == 0);
}

TEST_CASE("memory of other libraries is opened, but never replaced") {
    const Name name;
    create_foreign(name, 1 << 20);
    CHECK(create_error(name) == EEXIST);
    const SharedMemory memory = SharedMemory::open(name);
    CHECK(memory.size() == 1 << 20);
    struct stat status {};
    CHECK(stat(("/dev/shm" + name.path()).c_str(), &status) == 0);
    CHECK(status.st_blocks * 512 >= 1 << 20); // no access to it can fail
}

TEST_CASE("memory that is not complete is not opened") {
    const Name name;
    create_foreign(name, 0);
    CHECK(open_error(name) == ENOENT);
    CHECK(create_error(name) == EEXIST);
    name.free();
    create_foreign(name, 0, 0600 | mark); // its creator was killed
    CHECK(open_error(name) == ENOENT);
    CHECK(create_error(name) == 0);
}

TEST_CASE("programs that are killed at any moment leave nothing that is in the way") {
    std::mt19937_64 random(test_seed());
    const Name name;
    constexpr std::size_t size = 100'000;
    const auto use = [&] {
        for (;;) {
            try {
                SharedMemory::create(name, size).unlink();
            } catch (const std::system_error&) {
            }
        }
    };
    for (int i = how_often(50, 2000); i != 0; --i) {
        {
            const Victim first(use);
            const Victim second(use);
            for (int k = 0; k < 5; ++k) {
                try {
                    const std::size_t opened = SharedMemory::open(name).size();
                    REQUIRE(opened == size);
                } catch (const std::system_error& error) {
                    INFO(error.what());
                    REQUIRE(error.code() == std::errc::no_such_file_or_directory);
                }
                std::this_thread::sleep_for(std::chrono::microseconds(random() % 100));
            }
        }
        REQUIRE(create_error(name) == 0);
        name.free();
    }
}

TEST_CASE("one of several programs creates the memory") {
    const Name name;
    for (int i = how_often(20, 1000); i != 0; --i) {
        const Channel created;
        const auto create = [&] {
            try {
                const SharedMemory memory = SharedMemory::create(name, 100);
                report_and_sleep(created);
            } catch (const std::system_error& error) {
                std::exit(error.code() == std::errc::file_exists ? 0 : 1);
            }
        };
        std::deque<Victim> processes;
        for (int k = 0; k < 4; ++k) processes.emplace_back(create);
        (void)created.get<char>();
        const auto refused = [&] {
            return std::ranges::count_if(processes,
                                         [](const Victim& p) { return p.exitcode() == 0; });
        };
        while (refused() != 3) std::this_thread::yield();
    }
}

TEST_CASE("a full /dev/shm is an error, not a crash later") {
    const bool is_tested = check_with_small_shm([] {
        const SharedMemory memory = SharedMemory::create("small", 32 << 10);
        put(memory, 'x');
        const std::string text = require_throws<std::system_error>(
            [] { (void)SharedMemory::create("large", 64 << 10); }, "there is no room");
        require(text.find("fallocate of 65536 bytes(\"/large\"): /dev/shm has too little room") ==
                    0,
                text);
        require(open_error("large") == ENOENT, "the name is free again");
        SharedMemory::create("other", 16 << 10).unlink();
        const Name name;
        const int fd = shm_open("/sparse", O_RDWR | O_CREAT | O_EXCL, 0600);
        require(ftruncate(fd, 1 << 20) == 0, "a sparse file");
        close(fd);
        require(open_error("sparse") == ENOSPC, "the memory of others cannot be allocated");
    });
    if (!is_tested) WARN("may not mount a small /dev/shm: not tested");
}

TEST_CASE("the largest file that is allowed is no crash") {
    const Name name;
    check_child([&] {
        const rlimit limit{.rlim_cur = 1 << 20, .rlim_max = 1 << 20};
        require(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
        require(create_error(name, 2 << 20) == EFBIG, "too large");
        require(open_error(name) == ENOENT, "the name is free again");
        require(create_error(name, 1 << 20) == 0, "large enough");
    });
}

TEST_CASE("a signal does not interrupt the creation of large memory") {
    const Name name;
    check_child([&] {
        struct sigaction action {};
        action.sa_handler = [](int) {};
        sigaction(SIGALRM, &action, nullptr);
        const itimerval often{.it_interval = {.tv_sec = 0, .tv_usec = 500},
                              .it_value = {.tv_sec = 0, .tv_usec = 500}};
        setitimer(ITIMER_REAL, &often, nullptr);
        require(create_error(name, 64 << 20) == 0, "created");
    });
}
