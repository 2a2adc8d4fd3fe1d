#pragma once

#include "support/catch.hpp"
#include "support/processes.hpp"

#include <prong/process.hpp>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>

namespace prong::test {

/// Plain bytes between processes: these tests do not lean on prong's own pipes.
class Channel {
public:
    Channel() { REQUIRE(pipe2(fds_, O_CLOEXEC) == 0); }
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    ~Channel() {
        close(fds_[0]);
        close(fds_[1]);
    }

    template <typename T>
    void put(const T& value) const {
        if (write(fds_[1], &value, sizeof(value)) != sizeof(value)) std::abort();
    }
    template <typename T>
    T get() const {
        T value;
        if (read(fds_[0], &value, sizeof(value)) != sizeof(value)) std::abort();
        return value;
    }

private:
    int fds_[2];
};

inline void report_and_sleep(const Channel& channel) {
    channel.put('r');
    sleep_for_ever();
}

inline bool has_ended(int pidfd) {
    pollfd entry{.fd = pidfd, .events = POLLIN, .revents = 0};
    return poll(&entry, 1, 0) == 1;
}

/// Waits, generously, for a process that is not ours to collect.
inline bool ends_soon(int pidfd) {
    pollfd entry{.fd = pidfd, .events = POLLIN, .revents = 0};
    return poll(&entry, 1, 20000) == 1;
}

inline int run_to_exitcode(Process& process) {
    process.start();
    process.join();
    return process.exitcode().value();
}

template <typename F>
int exitcode_of(F f) {
    Process process(std::move(f));
    return run_to_exitcode(process);
}

} // namespace prong::test
