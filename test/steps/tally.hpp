#pragma once

#include "executor/invariants.hpp"
#include "steps/tracee.hpp"
#include "support/catch.hpp"
#include "support/environment.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace prong::test {

/// Returns whether nothing can be tried here, and says why.
inline bool skipped() {
    const std::string reason = cannot_trace();
    if (!reason.empty()) WARN("skipped: " << reason);
    return !reason.empty();
}

/// The random numbers of this run.
inline std::mt19937_64& random_numbers() {
    static std::mt19937_64 numbers(test_seed());
    return numbers;
}

inline Point random_point(const Path& path) {
    return path[random_numbers()() % path.size()];
}

/// How many points of a path are tried, about, and in a full run.
struct Share {
    std::size_t few;
    std::size_t most = static_cast<std::size_t>(-1);
};

/// Points of a path, evenly spread from a random one on.
inline Path sample(const Path& path, const Share& share) {
    const std::size_t wanted = std::min(full_run() ? share.most : share.few, path.size());
    const std::size_t distance = (path.size() + wanted - 1) / wanted;
    Path points;
    for (std::size_t i = random_numbers()() % distance; i < path.size(); i += distance) {
        points.push_back(path[i]);
    }
    return points;
}

/// Counts the points at which something was tried, and at how many of them it went wrong.
class Tally {
public:
    /// `reached`: whether this run has come to the point at all; else it was at its end.
    void count(const Point& point, bool reached, const Invariants& invariants) {
        ++points_;
        missed_ += reached ? 0 : 1;
        if (invariants.hold()) return;
        if (++violations_ > 5) return;
        examples_ += place_of(point.address) + ": " + invariants.violations() + "\n";
    }

    /// `path`: how many instructions there are.
    void print(const std::string& what, std::size_t path) const {
        std::cout << "steps: " << what << ": " << points_ << " kill points of " << path
                  << " instructions, " << violations_ << " violations";
        if (missed_ != 0) std::cout << " (" << missed_ << " points not met again)";
        std::cout << std::endl;
    }

    [[nodiscard]] std::size_t points() const { return points_; }
    [[nodiscard]] std::size_t violations() const { return violations_; }
    [[nodiscard]] const std::string& examples() const { return examples_; }

private:
    static std::string place_of(Address address) {
        Dl_info info{};
        if (dladdr(reinterpret_cast<void*>(address), &info) == 0) return "?";
        std::ostringstream text;
        text << info.dli_fname << "+0x" << std::hex
             << address - reinterpret_cast<Address>(info.dli_fbase);
        return text.str(); // what addr2line takes
    }

    std::size_t points_ = 0;
    std::size_t missed_ = 0;
    std::size_t violations_ = 0;
    std::string examples_;
};

} // namespace prong::test
