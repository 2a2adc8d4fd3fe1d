#pragma once

#include <atomic>
#include <cstdint>

namespace prong::shm {

/// A `std::atomic<bool>` for memory that other processes write: every value of the byte may be
/// read, whereas a bool may only be read as 0 or 1.
class Flag {
public:
    [[nodiscard]] bool load(std::memory_order order = std::memory_order_seq_cst) const noexcept {
        return byte_.load(order) != 0;
    }
    void store(bool value, std::memory_order order = std::memory_order_seq_cst) noexcept {
        byte_.store(value ? 1 : 0, order);
    }

private:
    std::atomic<std::uint8_t> byte_;
};

} // namespace prong::shm
