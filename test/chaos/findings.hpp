#pragma once

#include <cstddef>
#include <mutex>
#include <string>

namespace prong::test {

/// Collects what is violated, from any thread.
class Findings {
public:
    void require(bool holds, const std::string& otherwise) {
        if (holds) return;
        const std::lock_guard lock(mutex_);
        if (++count_ <= most_printed) text_ += otherwise + "\n";
    }

    [[nodiscard]] bool hold() const { return count() == 0; }
    [[nodiscard]] std::size_t count() const {
        const std::lock_guard lock(mutex_);
        return count_;
    }
    /// The first ones, a line each.
    [[nodiscard]] std::string text() const {
        const std::lock_guard lock(mutex_);
        return text_;
    }

private:
    static constexpr std::size_t most_printed = 10;

    mutable std::mutex mutex_;
    std::size_t count_ = 0;
    std::string text_;
};

} // namespace prong::test
