#include "os/terminal.hpp"

#include "base/fd.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>

namespace prong::os {

void give_up_terminal() noexcept {
    // Once it is given up, nobody is kept from reading it by a descriptor that is still open.
    constexpr std::array paths{"/dev/null", "/proc/self/fd/1", "/proc/self/fd/2"};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        pid_t session = 0;
        if (ioctl(fd, TIOCGSID, &session) != 0) continue; // not the controlling terminal
        const base::UniqueFd unreadable(
            open(paths.at(static_cast<std::size_t>(fd)), O_WRONLY | O_NOCTTY | O_CLOEXEC));
        if (unreadable) dup2(unreadable.get(), fd);
    }
    const base::UniqueFd terminal(open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (terminal) ioctl(terminal.get(), TIOCNOTTY);
}

} // namespace prong::os
