#pragma once

#include "base/errno.hpp"

#include <pthread.h>

#include <cerrno>
#include <csignal>
#include <ctime>

namespace prong::os {

/// Makes a system call that changes the size of a file and returns -1 on failure. Blocks all
/// signals meanwhile, so that none interrupts it, and discards the SIGXFSZ that comes with a
/// failure beyond RLIMIT_FSIZE.
template <typename Call>
int change_file_size(Call call) {
    sigset_t all;
    sigset_t before;
    sigset_t pending;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    sigpending(&pending);
    const int result = base::retry_interrupted(call); // SIGSTOP cannot be blocked
    const int error = errno;
    if (result != 0 && error == EFBIG && sigismember(&pending, SIGXFSZ) == 0) {
        sigset_t file_size;
        sigemptyset(&file_size);
        sigaddset(&file_size, SIGXFSZ);
        const timespec now{};
        sigtimedwait(&file_size, nullptr, &now);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return result;
}

} // namespace prong::os
