#pragma once

#include <prong/detail/deadline.hpp>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace prong::mpi {

/// Bounds a call of MPI that may block for ever: ends this process with an exit code if the object
/// lives longer than until the deadline, or if the call is not wanted any more.
class TimeLimit {
public:
    /// `is_unwanted` is called in another thread; may be empty.
    TimeLimit(detail::Deadline deadline, int exit_code, std::function<bool()> is_unwanted = {});
    TimeLimit(const TimeLimit&) = delete;
    TimeLimit& operator=(const TimeLimit&) = delete;
    ~TimeLimit();

private:
    void watch(detail::Deadline deadline, int exit_code, const std::function<bool()>& is_unwanted);

    std::mutex mutex_; ///< guards the next one
    bool has_returned_ = false;
    std::condition_variable returned_;
    std::thread thread_;
};

} // namespace prong::mpi
