#include "support/child.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <system_error>

namespace prong::test {
namespace {

/// A file without a name takes what the child writes: unlike a pipe it is never full, and a
/// grandchild that lives on does not hold up the reader.
int open_capture() {
    const int fd = memfd_create("capture", MFD_CLOEXEC);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "memfd_create");
    fcntl(fd, F_SETFL, O_APPEND); // the position of such a file is not safe between processes
    return fd;
}

std::string read_capture(int fd) {
    std::string text(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)), '\0');
    const ssize_t size = pread(fd, text.data(), text.size(), 0);
    text.resize(static_cast<std::size_t>(size < 0 ? 0 : size));
    close(fd);
    return text;
}

void flush_streams() {
    std::cout.flush();
    std::clog.flush();
    std::fflush(nullptr);
}

[[noreturn]] void run_body(const std::function<int()>& body, int out, int err) {
    for (int signal = 1; signal < NSIG; ++signal)
        std::signal(signal, SIG_DFL); // Catch2's among them
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    close(out);
    close(err);
    int status = 99;
    try {
        status = body();
    } catch (const std::exception& error) {
        std::cerr << "threw: " << error.what() << "\n";
    } catch (...) {
        std::cerr << "threw something that is no std::exception\n";
    }
    flush_streams();
    _exit(status);
}

} // namespace

ChildResult run_in_child(const std::function<int()>& body) {
    const int out = open_capture();
    const int err = open_capture();
    flush_streams();
    const pid_t pid = fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) run_body(body, out, err);
    int status = 0;
    while (waitpid(pid, &status, 0) == -1) {
        if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "waitpid");
    }
    return {.exitcode = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
            .out = read_capture(out),
            .err = read_capture(err)};
}

ChildResult run_self(const std::vector<std::string>& arguments) {
    return run_in_child([&] {
        std::vector<char*> argv{const_cast<char*>("self")};
        for (const std::string& argument : arguments) {
            argv.push_back(const_cast<char*>(argument.c_str()));
        }
        argv.push_back(nullptr);
        execv("/proc/self/exe", argv.data());
        return 127;
    });
}

} // namespace prong::test
