#include "os/rlimit.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

namespace prong::os {

std::uint64_t largest_file() noexcept {
    rlimit limit{};
    const bool is_limited = getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return is_limited ? limit.rlim_cur : std::numeric_limits<std::uint64_t>::max();
}

SoftLimit::SoftLimit(int resource, std::uint64_t most) : resource_(resource) {
    rlimit limit{};
    if (getrlimit(static_cast<__rlimit_resource>(resource), &limit) != 0) return;
    before_ = limit.rlim_cur;
    limit.rlim_cur = std::min<rlim_t>(most, limit.rlim_cur);
    setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

SoftLimit::~SoftLimit() {
    rlimit limit{};
    if (!before_ || getrlimit(static_cast<__rlimit_resource>(resource_), &limit) != 0) return;
    limit.rlim_cur = std::min<rlim_t>(*before_, limit.rlim_max);
    setrlimit(static_cast<__rlimit_resource>(resource_), &limit);
}

} // namespace prong::os
