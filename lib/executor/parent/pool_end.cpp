#include <prong/detail/pool_end.hpp>

#include "executor/parent/core.hpp"
#include "os/socket.hpp"

namespace prong::detail {

PoolEnd::PoolEnd(executor::PoolCore& pool) : pool_(pool) {
    pool.shutdown(false, false);
}

bool PoolEnd::has_come() {
    return pool_.core().join_until(Deadline::now());
}

int PoolEnd::watch() const {
    const int supervisor = pool_.core().supervisor_fd();
    if (supervisor < 0) return -1;
    return os::watch(supervisor, os::Readiness::readable).release();
}

} // namespace prong::detail
