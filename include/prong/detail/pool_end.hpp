#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/pool_reference.hpp>

namespace prong::detail {

/// The end of a pool that is shutting down: of its tasks and processes.
///
/// Thread safety: any thread.
class PRONG_API PoolEnd {
public:
    /// Shuts the pool down, without waiting. Throws `std::logic_error` in a process that is not the
    /// pool's.
    explicit PoolEnd(executor::PoolCore& pool);

    [[nodiscard]] executor::PoolCore& pool() const { return pool_.core(); }

    /// Checks the pool like a thread that waits for it. Returns whether it has ended. Does not
    /// block. Throws `std::system_error`.
    bool has_come();

    /// Returns a new descriptor that becomes readable at the end, which the caller closes; -1 if
    /// the pool has ended. It may be made non-blocking, as Asio does; a copy of the supervisor's
    /// descriptor may not.
    /// Throws `std::system_error`.
    [[nodiscard]] int watch() const;

private:
    PoolReference pool_;
};

} // namespace prong::detail
