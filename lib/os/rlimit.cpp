#include "os/rlimit.hpp"

#include <sys/resource.h>

#include <algorithm>

namespace prong::os {

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
