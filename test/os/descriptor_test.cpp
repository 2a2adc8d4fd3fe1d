#include "os/descriptor.hpp"

#include "support/catch.hpp"
#include "support/check_child.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <vector>

using namespace prong;
using namespace prong::os;
using namespace prong::test;

namespace {

bool is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

bool is_dead(int fd) {
    char byte = 'x';
    return is_open(fd) && read(fd, &byte, 1) < 0 && write(fd, &byte, 1) < 0 &&
           send(fd, &byte, 1, MSG_NOSIGNAL) < 0;
}

bool is_null(int fd) {
    char byte = 'x';
    return read(fd, &byte, 1) == 0 && write(fd, &byte, 1) == 1;
}

int listener() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    require(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0, "bind");
    require(listen(fd, 1) == 0, "listen");
    return fd;
}

/// A local server and a client that is connected to it.
std::array<int, 2> local_server_and_client() {
    const int server = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "prong-test-%d", getpid());
    auto* const address = reinterpret_cast<sockaddr*>(&name);
    require(bind(server, address, sizeof(name)) == 0 && listen(server, 1) == 0, "a local server");
    const int client = socket(AF_UNIX, SOCK_STREAM, 0);
    require(connect(client, address, sizeof(name)) == 0, "connect");
    return {server, client};
}

} // namespace

TEST_CASE("sockets that lead to other programs are given up; pipes, files and pairs stay") {
    check_child([] {
        const auto [server, client] = local_server_and_client();
        const std::vector<int> network{listener(), socket(AF_INET, SOCK_DGRAM, 0), server, client};
        std::array<int, 2> pair{};
        std::array<int, 2> ends{};
        require(socketpair(AF_UNIX, SOCK_STREAM, 0, pair.data()) == 0, "socketpair");
        require(pipe(ends.data()) == 0, "pipe");
        const int file = open("/dev/null", O_RDONLY);
        give_up_descriptors(Inherited::all_but_network, {}, {});
        require(std::ranges::all_of(network, is_dead), "the others' are dead");
        for (const int fd : {pair[0], ends[1]}) require(write(fd, "x", 1) == 1, "ours live");
        require(is_open(file), "a file stays");
        require(dup(file) > std::ranges::max(network), "no number has become free");
    });
}

TEST_CASE("only the listed descriptors and the standard ones are kept") {
    check_child([] {
        std::array<int, 2> given_up{};
        std::array<int, 2> kept{};
        std::array<int, 2> own{};
        for (auto* const ends : {&given_up, &kept, &own}) require(pipe(ends->data()) == 0, "pipe");
        const int network = listener();
        const std::array listed{kept[1], network};
        give_up_descriptors(Inherited::listed, listed, own);
        require(is_dead(given_up[0]) && is_dead(given_up[1]) && is_dead(kept[0]), "given up");
        require(write(own[1], "x", 1) == 1, "prong's own stay");
        sockaddr_in address{};
        socklen_t size = sizeof(address);
        require(getsockname(network, reinterpret_cast<sockaddr*>(&address), &size) == 0,
                "what is listed stays, of any kind");
        require(write(STDERR_FILENO, "", 0) == 0, "the standard ones stay");
    });
}

TEST_CASE("what an exec would have closed is closed by it though it is dead, and nothing else") {
    check_child([] {
        std::array<int, 2> ends{};
        require(pipe(ends.data()) == 0, "pipe");
        require(fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0, "fcntl");
        give_up_descriptors(Inherited::listed, {}, {});
        require(fcntl(ends[0], F_GETFD) == FD_CLOEXEC, "closed by exec");
        require(fcntl(ends[1], F_GETFD) == 0, "not closed by exec");
    });
}

TEST_CASE("standard descriptors that are closed, or a network connection, become /dev/null") {
    check_child([] {
        const auto [server, client] = local_server_and_client();
        close(STDIN_FILENO);
        require(dup2(client, STDOUT_FILENO) == STDOUT_FILENO, "dup2");
        give_up_descriptors(Inherited::all_but_network, {}, {});
        require(is_null(STDIN_FILENO) && is_null(STDOUT_FILENO), "/dev/null");
        require(is_dead(server) && is_dead(client), "dead");
    });
}

TEST_CASE("descriptors are given up without /proc, and beyond a limit that was lowered") {
    check_child([] {
        const int network = listener();
        const int high = fcntl(network, F_DUPFD, 200);
        const rlimit few{.rlim_cur = 100, .rlim_max = 100};
        require(setrlimit(RLIMIT_NOFILE, &few) == 0, "setrlimit");
        give_up_descriptors(Inherited::all_but_network, {}, {});
        require(is_dead(network), "dead");
        require(!is_open(high), "closed: no open can return it");
    });
}

TEST_CASE("prong's own descriptors are high, or at least none of the standard ones") {
    check_child([] {
        for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) close(fd);
        const auto open_null = [] { return base::UniqueFd(open("/dev/null", O_RDONLY)); };
        require(lift(open_null()).get() >= 64, "high");
        const rlimit few{.rlim_cur = 16, .rlim_max = 16};
        require(setrlimit(RLIMIT_NOFILE, &few) == 0, "setrlimit");
        require(lift(open_null()).get() > STDERR_FILENO, "not a standard one");
        require(!lift(base::UniqueFd()), "none stays none");
    });
}

TEST_CASE("a descriptor whose number user code has closed or used again is no longer ours") {
    check_child([] {
        std::array<int, 2> ends{};
        require(pipe(ends.data()) == 0, "pipe");
        {
            GuardedFd guarded{base::UniqueFd(dup(ends[0]))};
            const int number = guarded.get();
            require(number >= 0, "ours");
            close(number);
            require(guarded.get() < 0, "closed");
            require(open("/dev/null", O_RDONLY) == number, "used again");
            require(guarded.get() < 0, "another file");
            guarded.reset();
            require(is_open(number), "the other file is not closed");
        }
        GuardedFd guarded{base::UniqueFd(ends[0])};
        guarded.reset();
        require(!is_open(ends[0]), "one of ours is closed");
    });
}

TEST_CASE("passed descriptors get their numbers, also if those are taken") {
    check_child([] {
        std::vector<PassedFd> passed;
        std::array<std::array<int, 2>, 3> pipes{};
        for (auto& ends : pipes) require(pipe(ends.data()) == 0, "pipe");
        base::UniqueFd own(dup(STDERR_FILENO));
        // In a circle, and where `own` is.
        passed.push_back({.fd = base::UniqueFd(pipes[0][1]), .number = pipes[1][1], .flags = 0});
        passed.push_back(
            {.fd = base::UniqueFd(pipes[1][1]), .number = pipes[0][1], .flags = FD_CLOEXEC});
        passed.push_back({.fd = base::UniqueFd(pipes[2][1]), .number = own.get(), .flags = 0});
        const std::array numbers{pipes[1][1], pipes[0][1], own.get()};
        restore_numbers(passed, {{&own}});
        passed.clear();
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            const char sent = static_cast<char>('a' + i);
            char received = 0;
            require(write(numbers.at(i), &sent, 1) == 1, "write");
            require(read(pipes.at(i)[0], &received, 1) == 1 && received == sent, "the right pipe");
        }
        require(fcntl(numbers[1], F_GETFD) == FD_CLOEXEC, "its flags");
        require(is_open(own.get()), "ours has moved");
    });
}
