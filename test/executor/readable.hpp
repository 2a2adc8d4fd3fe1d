#pragma once

#include <poll.h>

namespace prong::test {

/// Waits until a descriptor is readable; the limit is for a failing test only.
inline bool becomes_readable(int fd) {
    pollfd event{.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&event, 1, 20'000) == 1;
}

inline bool is_readable(int fd) {
    pollfd event{.fd = fd, .events = POLLIN, .revents = 0};
    return poll(&event, 1, 0) == 1;
}

} // namespace prong::test
