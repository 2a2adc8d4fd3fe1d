#pragma once

#include <atomic>
#include <cstdint>

namespace prong::shm {

/// A `std::atomic<bool>` for memory that others write: of a bool only two values of a byte may ever
/// be read, of this all.
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
