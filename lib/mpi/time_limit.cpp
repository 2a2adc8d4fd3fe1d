#include "mpi/time_limit.hpp"

#include <unistd.h>

#include <chrono>
#include <utility>

namespace prong::mpi {
namespace {

/// How soon the end is seen.
constexpr std::chrono::milliseconds interval{20};

} // namespace

TimeLimit::TimeLimit(detail::Deadline deadline, int exit_code, std::function<bool()> is_unwanted)
    : thread_([this, deadline, exit_code, is_unwanted = std::move(is_unwanted)] {
          watch(deadline, exit_code, is_unwanted);
      }) {}

TimeLimit::~TimeLimit() {
    {
        const std::lock_guard guard(mutex_);
        has_returned_ = true;
    }
    returned_.notify_one();
    thread_.join();
}

void TimeLimit::watch(detail::Deadline deadline, int exit_code,
                      const std::function<bool()>& is_unwanted) {
    std::unique_lock guard(mutex_);
    while (!returned_.wait_for(guard, interval, [this] { return has_returned_; })) {
        if (deadline.passed() || (is_unwanted && is_unwanted())) _exit(exit_code);
    }
}

} // namespace prong::mpi
