#pragma once

#include "base/relax.hpp"
#include "os/cpus.hpp"

#include <prong/detail/deadline.hpp>

namespace prong::sync {

/// Looks some hundred times, before a sleep, whether `is_met()`: the last look's answer. Does not
/// look if the deadline has passed, or if there is no other CPU on which it could become true.
template <typename Condition>
bool spin_until(const detail::Deadline& deadline, Condition is_met) {
    constexpr int looks = 100;
    if (deadline.passed() || os::online_cpus() == 1) return false;
    for (int i = 0; i < looks; ++i) {
        base::relax();
        if (is_met()) return true;
    }
    return false;
}

} // namespace prong::sync
