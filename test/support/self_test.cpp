// Tests of the test support itself: a check that cannot fail is worth nothing.

#include "support/catch.hpp"
#include "support/child.hpp"
#include "support/environment.hpp"
#include "support/eventually.hpp"
#include "support/leaks.hpp"
#include "support/processes.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <thread>

using namespace prong::test;
using namespace std::chrono_literals;

namespace {

pid_t fork_pausing_child() {
    const pid_t pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    return pid;
}

void kill_and_reap(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

[[gnu::noinline]] void hang_here() {
    for (;;) pause();
}

} // namespace

// Not run by default: what the tests below start to see how it fails.

TEST_CASE("leave a child behind", "[.]") {
    fork_pausing_child(); // ends with the program: see below
    CHECK(true);
}

TEST_CASE("leave a descriptor behind", "[.]") {
    CHECK(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

TEST_CASE("hang in a child and in the parent", "[.]") {
    const pid_t pid = fork();
    hang_here();
    CHECK(pid > 0);
}

TEST_CASE("The leak check is content with a test that gives everything back") {
    const Holdings before = Holdings::now();
    std::thread([] {}).join();
    kill_and_reap(fork_pausing_child());
    close(open("/dev/null", O_RDONLY | O_CLOEXEC));
    CHECK(leaks_since(before, 5s).empty());
}

TEST_CASE("The leak check finds a child that still runs") {
    const Holdings before = Holdings::now();
    const pid_t pid = fork_pausing_child();
    CHECK(contains(leaks_since(before, 0s), "child " + std::to_string(pid)));
    kill_and_reap(pid);
}

TEST_CASE("The leak check finds a zombie") {
    const Holdings before = Holdings::now();
    const pid_t pid = fork_pausing_child();
    kill(pid, SIGKILL);
    CHECK(eventually([&] { return !is_running(pid); }));
    CHECK(contains(leaks_since(before, 0s), "zombie " + std::to_string(pid)));
    kill_and_reap(pid);
}

TEST_CASE("The leak check finds an orphan") {
    const Holdings before = Holdings::now();
    const ChildResult child = run_in_child([] {
        std::cout << fork_pausing_child();
        return 0;
    });
    const pid_t orphan = std::stoi(child.out);
    CHECK(contains(leaks_since(before, 0s), "orphan " + std::to_string(orphan)));
    kill(orphan, SIGKILL);
    CHECK(leaks_since(before, 5s).empty());
}

TEST_CASE("The leak check finds a descriptor, also in the place of another") {
    const int old = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const Holdings before = Holdings::now();
    const int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    CHECK(contains(leaks_since(before, 0s), "descriptor " + std::to_string(fd) + " -> /dev/zero"));
    dup2(fd, old);
    close(fd);
    CHECK(contains(leaks_since(before, 0s), "descriptor " + std::to_string(old)));
    close(old);
    CHECK(leaks_since(before, 5s).empty());
}

TEST_CASE("The leak check finds a thread") {
    const Holdings before = Holdings::now();
    std::atomic<bool> go{false};
    std::thread thread([&] { go.wait(false); });
    CHECK(contains(leaks_since(before, 0s), "thread "));
    go = true;
    go.notify_all();
    thread.join();
    CHECK(leaks_since(before, 5s).empty());
}

TEST_CASE("The leak check finds shared memory, with a descriptor or without") {
    const Holdings before = Holdings::now();
    const int fd = memfd_create("left", MFD_CLOEXEC);
    REQUIRE(ftruncate(fd, 4096) == 0);
    void* const named = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    CHECK(contains(leaks_since(before, 0s), "memfd:left"));
    munmap(named, 4096);
    void* const anonymous = mmap(nullptr, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(contains(leaks_since(before, 0s), "mapping "));
    munmap(anonymous, 4096);
    CHECK(leaks_since(before, 5s).empty());
}

TEST_CASE("The leak check waits for a process that is about to end") {
    const Holdings before = Holdings::now();
    const pid_t pid = fork_pausing_child();
    std::thread reaper([&] {
        std::this_thread::sleep_for(50ms);
        kill_and_reap(pid);
    });
    const std::string leaks = leaks_since(before, 20s);
    reaper.join();
    CHECK(leaks.empty());
}

TEST_CASE("A test program fails and says why when a test leaves something behind") {
    setenv("PRONG_TEST_GRACE_S", "0", 1);
    SECTION("a descriptor") {
        const ChildResult result = run_self({"leave a descriptor behind"});
        CHECK(result.exitcode == 1);
        CHECK(contains(result.err, "\"leave a descriptor behind\" has left behind"));
        CHECK(contains(result.err, "/dev/null"));
    }
    SECTION("a child") {
        const ChildResult result = run_self({"leave a child behind"});
        CHECK(result.exitcode == 1);
        const std::size_t place = result.err.find("\n  child ");
        REQUIRE(place != std::string::npos);
        const pid_t left = std::stoi(result.err.substr(place + 9));
        kill(left, SIGKILL);
        CHECK(eventually([&] { return !is_running(left); }));
    }
    unsetenv("PRONG_TEST_GRACE_S");
}

TEST_CASE("A test that hangs is aborted, with the stacks of all its processes") {
    setenv("PRONG_TEST_DEADLINE_S", "1", 1);
    const ChildResult result = run_self({"hang in a child and in the parent"});
    unsetenv("PRONG_TEST_DEADLINE_S");
    INFO(result.err);
    CHECK(result.exitcode == -SIGABRT);
    CHECK(contains(result.err, "\"hang in a child and in the parent\" has not ended after 1 s"));
    CHECK(contains(result.err, "--- process "));
    CHECK(contains(result.err, "system call "));
}

TEST_CASE("A child's exit code, signal, exception and text come back") {
    const ChildResult plain = run_in_child([] {
        std::cout << "to out";
        std::cerr << "to err";
        return 7;
    });
    CHECK(plain.exitcode == 7);
    CHECK(plain.out == "to out");
    CHECK(plain.err == "to err");
    CHECK(run_in_child([] { return raise(SIGSEGV); }).exitcode == -SIGSEGV);
    const ChildResult thrown = run_in_child([]() -> int { throw std::runtime_error("reason"); });
    CHECK(thrown.exitcode == 99);
    CHECK(contains(thrown.err, "reason"));
}

TEST_CASE("Descendants are listed with their parents first") {
    const pid_t child = fork();
    if (child == 0) {
        fork_pausing_child();
        pause();
        _exit(0);
    }
    CHECK(eventually([&] { return children_of(child).size() == 1; }));
    const auto family = descendants_of(getpid());
    REQUIRE(family.size() == 2);
    CHECK(family[0].pid == child);
    CHECK(family[1].parent == child);
    kill(family[1].pid, SIGKILL);
    kill_and_reap(child);
}

TEST_CASE("A temporary directory goes with its object") {
    std::filesystem::path path;
    {
        const TempDir directory;
        path = directory.path();
        std::ofstream(path / "file") << "text";
        CHECK(std::filesystem::exists(path / "file"));
    }
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("PRONG_SEED repeats a random test") {
    const ChildResult result = run_in_child([] {
        setenv("PRONG_SEED", "4711", 1);
        return test_seed() == 4711 && test_seed() == 4711 ? 0 : 1;
    });
    CHECK(result.exitcode == 0);
    CHECK(contains(result.err, "PRONG_SEED=4711"));
}
