// Descriptors that a pool shares with the program around it and with what its tasks do to theirs.

#include "executor/helpers.hpp"
#include "support/catch.hpp"
#include "support/check_child.hpp"
#include "support/environment.hpp"

#include <prong/prong.hpp>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace prong::test;
using prong::Inherit;

namespace {

namespace fs = std::filesystem;

std::string content_of(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
}

std::set<int> open_descriptors() {
    std::set<int> open;
    for (int fd = 0; fd < 1024; ++fd) {
        if (fcntl(fd, F_GETFD) >= 0) open.insert(fd);
    }
    return open;
}

/// Both ends of a connection through the loopback interface.
std::array<int, 2> connection() {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof(address);
    require(bind(listener, any, size) == 0 && listen(listener, 1) == 0, "a listener");
    require(getsockname(listener, any, &size) == 0, "its port");
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(connect(client, any, size) == 0, "connect");
    const int server = accept(listener, nullptr, nullptr);
    close(listener);
    return {client, server};
}

int close_all(int first) {
    for (int fd = first; fd < 1024; ++fd) close(fd);
    return 0;
}

/// Creates `count` files, and leaves them open.
void open_files(const fs::path& folder, int count) {
    for (int i = 0; i < count; ++i) {
        const fs::path path = folder / std::to_string(i);
        std::ofstream(path) << "precious\n";
        open(path.c_str(), O_RDWR);
    }
}

void require_untouched(const fs::path& folder, int count) {
    for (int i = 0; i < count; ++i)
        require(content_of(folder / std::to_string(i)) == "precious\n", "a file is as it was");
}

void print_and_die() {
    std::printf("last words\n");
    std::fflush(stdout);
    raise(SIGKILL);
}

std::string last_output_of_a_death(ProcessPoolExecutor& pool) {
    auto dies = pool.with(TaskOptions{.capture_output = true}).submit(print_and_die);
    return error_of<WorkerDied>(dies).last_output();
}

bool is_null(int fd) {
    char byte = 'x';
    return read(fd, &byte, 1) == 0 && write(fd, &byte, 1) == 1;
}

} // namespace

TEST_CASE("a logger's connection in a worker is dead, and never becomes a task's file") {
    const bool with_zygote = GENERATE(false, true);
    const TempDir folder;
    check_child([&] {
        const auto [client, server] = connection();
        if (with_zygote) prong::start_zygote();
        ProcessPoolExecutor pool(1);
        const fs::path path = folder.path() / "result";
        const int error = pool.submit(
                                  [](const fs::path& file, int logger) {
                                      const int fd = open(file.c_str(), O_RDWR | O_CREAT, 0600);
                                      require(write(fd, "result", 6) == 6, "write");
                                      require(write(logger, "log", 3) < 0, "the logger's line");
                                      const int why = errno;
                                      close(fd);
                                      return why;
                                  },
                                  path, client)
                              .get();
        require(error == EBADF, "as if the connection were closed");
        require(content_of(path) == "result", "no line in the result");
        close(client); // the end is seen at once: no process of the pool holds the connection
        char byte = 0;
        require(recv(server, &byte, 1, 0) == 0, "end of the connection");
    });
}

TEST_CASE("tasks of a program whose standard streams are a connection (inetd) may print") {
    check_child([] {
        const auto [client, server] = connection();
        const int error = dup(STDERR_FILENO);
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(client, fd);
        {
            ProcessPoolExecutor pool(1);
            require(last_output_of_a_death(pool) == "last words\n", "captured");
            require(pool.submit([] { return is_null(0) && is_null(1) && is_null(2); }).get(),
                    "else /dev/null");
        }
        dup2(error, STDERR_FILENO);
        dup2(error, STDOUT_FILENO);
        close(client);
        close(STDIN_FILENO);
        char byte = 0;
        require(recv(server, &byte, 1, 0) == 0, "nothing has come through the connection");
    });
}

TEST_CASE("a program without standard streams has a pool that captures output") {
    const bool with_zygote = GENERATE(false, true);
    check_child([with_zygote] {
        const auto before = open_descriptors();
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) close(fd);
        if (with_zygote) prong::start_zygote();
        ProcessPoolExecutor pool(2);
        const auto after = open_descriptors();
        require(!after.contains(STDIN_FILENO) && !after.contains(STDOUT_FILENO),
                "no standard number is taken");
        require(after.size() < before.size() - 2 + (with_zygote ? 5 : 3), "and few others");
        std::printf("a line that is not read, longer than any request\n");
        std::fflush(stdout); // into the zygote's socket, if that had the number
        require(last_output_of_a_death(pool) == "last words\n", "captured");
        ProcessPoolExecutor second(1);
        require(second.submit(square, 3).get() == 9, "the zygote lives");
    });
}

TEST_CASE("what is written to the zygote's descriptor by mistake is no request") {
    check_child([] {
        const auto before = open_descriptors();
        prong::start_zygote();
        for (const int fd : open_descriptors()) {
            if (before.contains(fd)) continue;
            const std::string noise(100, 'x');
            for (int i = 0; i < 3; ++i) static_cast<void>(write(fd, noise.data(), noise.size()));
        }
        ProcessPoolExecutor pool(1);
        require(pool.submit(square, 3).get() == 9, "the zygote lives");
    });
}

TEST_CASE("after a task that closes every descriptor no output is captured, and no file harmed") {
    const TempDir folder;
    check_child([&] {
        ProcessPoolExecutor pool(1);
        pool.submit(close_all, 3).get();
        pool.submit(open_files, folder.path(), 100).get();
        auto dies = pool.with(TaskOptions{.capture_output = true}).submit([] {
            std::fflush(stdout);
            raise(SIGKILL);
        });
        require(error_of<WorkerDied>(dies).last_output().empty(), "nothing captured");
        require_untouched(folder.path(), 100);
        require(last_output_of_a_death(pool) == "last words\n", "the next worker captures");
    });
}

TEST_CASE("a captured task that closes every descriptor harms no file, also by later output") {
    const TempDir folder;
    check_child([&] {
        const auto print = [] {
            std::printf("a line\n");
            std::fflush(stdout);
        };
        const auto close_and_open = [](const fs::path& where) {
            close_all(3); // also what standard output was to be restored from
            open_files(where, 100);
        };
        ProcessPoolExecutor pool(1);
        const auto captured = pool.with(TaskOptions{.capture_output = true});
        captured.submit(close_and_open, folder.path()).get();
        pool.submit(print).get();
        captured.submit(print).get();
        require_untouched(folder.path(), 100);
    });
}

TEST_CASE("a program that closes every descriptor keeps its pools and processes") {
    const bool with_zygote = GENERATE(false, true);
    const TempDir folder;
    check_child([&] {
        const Shared<Gate> gate;
        if (with_zygote) prong::start_zygote();
        prong::Process process([] { pause(); });
        process.start();
        {
            ProcessPoolExecutor pool(2);
            auto held = occupy(pool, gate);
            close_all(3);
            open_files(folder.path(), 100);
            const auto files = open_descriptors();
            require(held[0].kill(), "a running task is killed");
            require_throws<CancelledError>([&] { held[0].get(); }, "the killed task");
            gate->open();
            held[1].get();
            require(pool.submit(square, 3).get() == 9, "a task");
            auto slow = pool.with(TaskOptions{.timeout = 20ms}).submit([] { pause(); });
            require_throws<prong::TaskTimeout>([&] { slow.get(); }, "a timeout");
            pool.shutdown();
            for (const int fd : files) require(fcntl(fd, F_GETFD) >= 0, "no file was closed");
        }
        require(process.is_alive(), "the process lives");
        process.terminate();
        process.join();
        require(process.exitcode() == -SIGTERM, "and is ended");
        require_untouched(folder.path(), 100);
        if (with_zygote) {
            require_throws<prong::Error>([] { ProcessPoolExecutor(1).shutdown(); },
                                         "a pool from a zygote that is out of reach");
            prong::start_zygote();
        }
        ProcessPoolExecutor next(1);
        require(next.submit(square, 3).get() == 9, "a new pool");
    });
}

TEST_CASE("with Inherit::standard_only a pipe ends and a lock is free while the pool lives") {
    const TempDir folder;
    check_child([&] {
        const std::string path = folder.path() / "lock";
        const int locked = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        require(flock(locked, LOCK_EX) == 0, "flock");
        auto [here, there] = prong::Pipe();
        prong::Process reader(
            [](prong::Connection end) {
                try {
                    end.recv<int>();
                } catch (const prong::EndOfFile&) {
                    std::exit(3);
                }
            },
            std::move(there));
        reader.start();
        const PoolOptions options{.max_workers = 1, .inherit = Inherit::standard_only};
        ProcessPoolExecutor pool(options);
        require(pool.submit(square, 3).get() == 9, "the pool works");
        here.close();
        reader.join();
        require(reader.exitcode() == 3, "the reader has seen the end");
        close(locked);
        const int again = open(path.c_str(), O_RDWR | O_CLOEXEC);
        require(flock(again, LOCK_EX | LOCK_NB) == 0, "the lock is free");
        std::FILE* const tool = popen("cat", "w");
        ProcessPoolExecutor beside(options);
        require(beside.submit(square, 3).get() == 9, "another pool beside a tool");
        require(pclose(tool) == 0, "the tool has seen the end of its input");
    });
}

TEST_CASE("Inherit::only keeps what it lists, with a zygote what that is when the pool is made") {
    const bool with_zygote = GENERATE(false, true);
    check_child([with_zygote] {
        std::array<int, 2> before{};
        require(pipe2(before.data(), O_CLOEXEC) == 0, "pipe");
        if (with_zygote) prong::start_zygote();
        std::array<int, 2> listed{};
        std::array<int, 2> other{};
        require(pipe2(listed.data(), O_CLOEXEC) == 0 && pipe(other.data()) == 0, "pipe");
        ProcessPoolExecutor pool(
            PoolOptions{.max_workers = 1, .inherit = Inherit::only({listed[1]})});
        const auto task = [](int kept, int not_kept, int earlier) {
            const bool is_cloexec = fcntl(kept, F_GETFD) == FD_CLOEXEC;
            return write(kept, "x", 1) == 1 && is_cloexec && write(not_kept, "x", 1) < 0 &&
                   write(earlier, "x", 1) < 0;
        };
        require(pool.submit(task, listed[1], other[1], before[1]).get(), "in the worker");
        char byte = 0;
        require(read(listed[0], &byte, 1) == 1 && byte == 'x', "what it wrote has arrived");
        close(other[1]);
        require(read(other[0], &byte, 1) == 0, "the other pipe's end is seen");
    });
}

TEST_CASE("descriptors that are not open, or too many, are refused when the pool is made") {
    const auto make = [](std::vector<int> listed) {
        ProcessPoolExecutor pool(
            PoolOptions{.max_workers = 1, .inherit = Inherit::only(std::move(listed))});
    };
    CHECK_THROWS_AS(make({12345}), std::invalid_argument);
    CHECK_THROWS_AS(make({-1}), std::invalid_argument);
    CHECK_THROWS_AS(make(std::vector<int>(1000, 0)), std::invalid_argument);
}
