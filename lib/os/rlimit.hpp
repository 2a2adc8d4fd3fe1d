#pragma once

#include <cstdint>
#include <optional>

namespace prong::os {

/// Returns the size of the largest file that this process may create (RLIMIT_FSIZE), in bytes. A
/// memfd is such a file.
std::uint64_t largest_file() noexcept;

/// Lowers a resource's soft limit for as long as the object lives.
class SoftLimit {
public:
    SoftLimit(int resource, std::uint64_t most);
    ~SoftLimit();
    SoftLimit(const SoftLimit&) = delete;
    SoftLimit& operator=(const SoftLimit&) = delete;

private:
    int resource_;
    std::optional<std::uint64_t> before_;
};

} // namespace prong::os
