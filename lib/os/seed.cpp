#include "os/seed.hpp"

#include <sys/random.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace prong::os {
namespace {

/// Mixes all bits; maps different inputs to different outputs.
std::uint64_t mix(std::uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9; // the last step of SplitMix64
    value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
    return value ^ (value >> 31);
}

std::uint64_t ticks(auto clock) {
    return static_cast<std::uint64_t>(decltype(clock)::now().time_since_epoch().count());
}

constexpr itimerval patience{.it_interval = {}, .it_value = {.tv_sec = 1, .tv_usec = 0}};
sigjmp_buf no_longer_waiting;

void stop_waiting(int) {
    siglongjmp(no_longer_waiting, 1);
}

} // namespace

std::uint64_t fresh_seed() noexcept {
    std::uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {
        seed = mix(ticks(std::chrono::steady_clock())) ^ ticks(std::chrono::system_clock());
        seed = mix(seed ^ static_cast<std::uint64_t>(getpid()));
    }
    return seed != 0 ? seed : 1;
}

void seed_c_library(std::uint64_t seed) noexcept {
    std::array<unsigned short, 3> state{};
    std::memcpy(state.data(), &seed, sizeof(state));
    seed48(state.data());

    struct sigaction alarm_action {};
    struct sigaction before {};
    alarm_action.sa_handler = stop_waiting;
    sigaction(SIGALRM, &alarm_action, &before);
    if (sigsetjmp(no_longer_waiting, 1) == 0) {
        setitimer(ITIMER_REAL, &patience, nullptr);
        srandom(static_cast<unsigned>(seed));
    }
    constexpr itimerval none{};
    setitimer(ITIMER_REAL, &none, nullptr);
    sigaction(SIGALRM, &before, nullptr);
}

} // namespace prong::os
