#pragma once

#include "ring/spinner.hpp"

#include <chrono>

namespace prong::mpi {

/// How long a process naps between two looks for messages, which cannot wake it: a thirtieth of the
/// time for which there has been nothing to do, at most 1 ms. So the looks of an idle process take
/// less than 3 % of a core, and an answer that comes soon is seen soon. It spins before the first
/// nap, if there is a core to spare.
class Pace {
public:
    Pace();

    /// There was something to do.
    void busy();

    /// Spins a little. Returns false when it is time to nap.
    bool spin();

    /// Returns how long to nap now.
    [[nodiscard]] std::chrono::nanoseconds nap() const;

private:
    std::chrono::steady_clock::time_point busy_at_ = std::chrono::steady_clock::now();
    ring::Spinner spinner_;
    bool may_spin_ = true;
};

} // namespace prong::mpi
