// Waits for tasks and a timer in one epoll loop. The timer kills the task that never ends.

#include <prong/error.hpp>
#include <prong/process_pool_executor.hpp>

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <iostream>
#include <system_error>
#include <vector>

int count_primes(int limit) {
    int count = 0;
    for (int n = 2; n < limit; ++n) {
        bool is_prime = true;
        for (int divisor = 2; divisor * divisor <= n && is_prime; ++divisor)
            is_prime = n % divisor != 0;
        if (is_prime) ++count;
    }
    return count;
}

void compute_for_ever() {
    for (volatile unsigned n = 0;;) n = n + 1;
}

int checked(int fd, const char* call) {
    if (fd < 0) throw std::system_error(errno, std::generic_category(), call);
    return fd;
}

void watch(int loop, int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    checked(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void drain(int fd) {
    std::array<char, 256> bytes{};
    while (read(fd, bytes.data(), bytes.size()) > 0) {
    }
}

int main() {
    prong::ProcessPoolExecutor pool(2);
    prong::Future<void> endless = pool.submit(compute_for_ever);
    std::vector<prong::Future<int>> counts;
    for (const int limit : {100, 10'000, 100'000})
        counts.push_back(pool.submit(count_primes, limit));

    const int timer = checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), "timer");
    const timespec interval{.tv_sec = 0, .tv_nsec = 50'000'000};
    const itimerspec times{.it_interval = interval, .it_value = interval};
    checked(timerfd_settime(timer, 0, &times, nullptr), "timerfd_settime");

    const int tasks = pool.completion_fd();
    const int loop = checked(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
    watch(loop, tasks);
    watch(loop, timer);
    int ticks = 0;
    while (!counts.empty() || !endless.done()) {
        epoll_event event{};
        if (epoll_wait(loop, &event, 1, -1) != 1) continue;
        drain(event.data.fd);
        if (event.data.fd == timer && ++ticks == 3) endless.kill();
        std::erase_if(counts, [](prong::Future<int>& count) {
            if (!count.done()) return false;
            std::cout << "primes: " << count.get() << "\n";
            return true;
        });
    }
    try {
        endless.get();
    } catch (const prong::CancelledError&) {
        std::cout << "killed by the timer\n";
    }
    close(loop);
    close(timer);
}
