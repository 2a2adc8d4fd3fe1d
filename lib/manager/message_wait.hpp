#pragma once

#include "os/process.hpp"
#include "ring/spinner.hpp"

#include <prong/connection.hpp>
#include <prong/detail/deadline.hpp>

namespace prong::manager {

/// Waits a little for a message without sleeping: most calls take less time than two wake-ups. The
/// caller receives afterwards, and sleeps if nothing has come.
inline void spin_for_message(const Connection& connection, ring::Spinner& spinner) {
    const int fd = connection.fileno();
    while (!os::wait_readable(fd, detail::Deadline::now())) {
        if (!spinner.spin(1)) return;
    }
    spinner.found();
}

} // namespace prong::manager
