#pragma once

#include <pthread.h>

#include <csignal>

namespace prong::os {

/// Blocks all signals in this thread while it exists, also in threads that are started meanwhile:
/// the program's signals are not for a thread of prong.
class BlockedSignals {
public:
    BlockedSignals() noexcept {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    BlockedSignals(const BlockedSignals&) = delete;
    BlockedSignals& operator=(const BlockedSignals&) = delete;

private:
    sigset_t before_;
};

} // namespace prong::os
