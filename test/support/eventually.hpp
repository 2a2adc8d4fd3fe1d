#pragma once

#include <chrono>
#include <thread>

namespace prong::test {

/// Waits for something that no call can wait for; true as soon as `predicate` is, false when it
/// still is not after `limit`. The limit is for a failing test only, so it is generous.
template <typename Predicate>
[[nodiscard]] bool eventually(Predicate predicate,
                              std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const auto until = std::chrono::steady_clock::now() + limit;
    while (!predicate()) {
        if (std::chrono::steady_clock::now() >= until) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

} // namespace prong::test
