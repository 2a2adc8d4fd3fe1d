#pragma once

#include <prong/detail/export.hpp>

#include <utility>

namespace prong::executor {
class PoolCore;
}

namespace prong::detail {

/// Keeps the pool's memory for a user who may submit more after the executor has been destroyed:
/// `submit` throws `PoolShutdown` then.
class PRONG_API PoolReference {
public:
    explicit PoolReference(executor::PoolCore& core);
    PoolReference(PoolReference&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}
    PoolReference& operator=(PoolReference&&) = delete;
    ~PoolReference();

    [[nodiscard]] executor::PoolCore& core() const { return *core_; }

private:
    executor::PoolCore* core_;
};

} // namespace prong::detail
