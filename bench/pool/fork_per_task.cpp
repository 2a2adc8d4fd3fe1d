// The plainest way: fork a process for each task, which writes its result into a pipe and exits.

#include "competitor.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <system_error>

namespace bench {
namespace {

struct Child {
    pid_t pid;
    int pipe;
};

void write_all(int fd, const void* data, std::size_t size) {
    const char* position = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t written = write(fd, position, size);
        if (written <= 0) _exit(1);
        position += written;
        size -= static_cast<std::size_t>(written);
    }
}

void read_all(int fd, void* data, std::size_t size) {
    char* position = static_cast<char*>(data);
    while (size > 0) {
        const ssize_t got = read(fd, position, size);
        if (got <= 0) throw std::system_error(errno, std::generic_category(), "read");
        position += got;
        size -= static_cast<std::size_t>(got);
    }
}

/// `write_result` runs in the child and writes into the descriptor that it is given.
template <typename F>
Child start(F write_result) {
    int ends[2];
    if (pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    const pid_t pid = fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) {
        write_result(ends[1]);
        _exit(0);
    }
    close(ends[1]);
    return {.pid = pid, .pipe = ends[0]};
}

void finish(const Child& child, void* result, std::size_t size) {
    read_all(child.pipe, result, size);
    close(child.pipe);
    waitpid(child.pid, nullptr, 0);
}

class ForkPerTask final : public Competitor {
public:
    explicit ForkPerTask(Setup setup) : workers_(setup.workers) {}

    std::int64_t run_all(Task task, int count) override {
        std::deque<Child> running;
        std::int64_t sum = 0;
        for (int n = 0; n < count || !running.empty();) {
            if (n < count && running.size() < static_cast<std::size_t>(workers_)) {
                running.push_back(start_task(task, n++));
                continue;
            }
            int result = 0;
            finish(running.front(), &result, sizeof(result));
            running.pop_front();
            sum += result;
        }
        return sum;
    }

    int call(int n) override {
        int result = 0;
        finish(start_task(increment, n), &result, sizeof(result));
        return result;
    }

    std::vector<std::int64_t> map_squares(int count) override {
        std::vector<std::int64_t> squares(static_cast<std::size_t>(count));
        std::vector<Child> children;
        for (int part = 0; part < workers_; ++part) {
            children.push_back(start([&](int fd) {
                const int end = part_begin(count, workers_, part + 1);
                std::vector<std::int64_t> block;
                for (int n = part_begin(count, workers_, part); n < end; ++n) {
                    block.push_back(square(n));
                }
                write_all(fd, block.data(), block.size() * sizeof(block[0]));
            }));
        }
        for (int part = 0; part < workers_; ++part) {
            const int begin = part_begin(count, workers_, part);
            const auto size =
                static_cast<std::size_t>(part_begin(count, workers_, part + 1) - begin);
            finish(children[static_cast<std::size_t>(part)], squares.data() + begin,
                   size * sizeof(squares[0]));
        }
        return squares;
    }

    /// Only the way back is a copy: the child sees the argument as it is.
    Bytes echo(const Bytes& bytes) override {
        Bytes result(bytes.size());
        finish(start([&](int fd) {
                   const Bytes answer = bench::echo(bytes);
                   write_all(fd, answer.data(), answer.size());
               }),
               result.data(), result.size());
        return result;
    }

    Bytes result(int size) override {
        Bytes result(static_cast<std::size_t>(size));
        finish(start([&](int fd) {
                   const Bytes made = make_bytes(size);
                   write_all(fd, made.data(), made.size());
               }),
               result.data(), result.size());
        return result;
    }

private:
    static Child start_task(Task task, int n) {
        return start([&](int fd) {
            const int result = task(n);
            write_all(fd, &result, sizeof(result));
        });
    }

    int workers_;
};

} // namespace

std::unique_ptr<Competitor> make_fork_per_task(Setup setup) {
    return std::make_unique<ForkPerTask>(setup);
}

} // namespace bench
