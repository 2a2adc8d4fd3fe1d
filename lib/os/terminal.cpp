#include "os/terminal.hpp"

#include "base/fd.hpp"
#include "os/descriptor.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

namespace prong::os {
namespace {

/// Returns the descriptors of the controlling terminal.
std::vector<int> terminal_descriptors() {
    std::vector<int> found;
    visit_open_descriptors([&found](int fd) {
        pid_t session = 0; // succeeds for the controlling terminal only
        if (ioctl(fd, TIOCGSID, &session) == 0) found.push_back(fd);
    });
    return found;
}

/// Opens the same terminal for writing only, or /dev/null for standard input.
base::UniqueFd unreadable(int fd) {
    const std::string path =
        fd == STDIN_FILENO ? "/dev/null" : "/proc/self/fd/" + std::to_string(fd);
    return base::UniqueFd(open(path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC));
}

void replace_all() {
    std::vector<std::pair<int, base::UniqueFd>> replacements;
    for (const int fd : terminal_descriptors()) {
        replacements.emplace_back(fd, unreadable(fd));
        if (!replacements.back().second) return;
    }
    for (const auto& [fd, replacement] : replacements) {
        const int flags = fcntl(fd, F_GETFD);
        dup3(replacement.get(), fd, (flags & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0);
    }
    // After this step the kernel no longer refuses reads by background processes, so all
    // descriptors must have been replaced.
    const base::UniqueFd terminal(open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (terminal) ioctl(terminal.get(), TIOCNOTTY);
}

} // namespace

void give_up_terminal() noexcept {
    try {
        replace_all();
    } catch (...) { // no memory: the controlling terminal stays
    }
}

} // namespace prong::os
