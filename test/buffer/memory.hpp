#pragma once

#include "buffer/parcel.hpp"
#include "shm/family_memory.hpp"

#include <cstdint>

namespace prong::test {

/// Compares what buffers and references occupy in the family's memory with what it was.
class BufferMemory {
public:
    /// Returns how many blocks there are more than at the construction, after a sweep. A negative
    /// number: fewer.
    [[nodiscard]] std::int64_t more() const {
        buffer::sweep();
        return owned() - before_;
    }

    /// Returns how many blocks of the family's memory there are more, of whatever kind. Those that
    /// a process was about to take or to free as it was killed come back when another process takes
    /// its slot.
    [[nodiscard]] std::int64_t more_blocks() const { return blocks() - blocks_before_; }

    /// Counts the blocks.
    static std::int64_t owned() {
        std::int64_t parcels = 0;
        buffer::for_each_parcel([&](buffer::Cell& cell) {
            parcels += cell.kind.load() == detail::ObjectKind::buffer ? 2 : 1;
        });
        return parcels;
    }

private:
    static std::int64_t blocks() {
        return static_cast<std::int64_t>(shm::FamilyMemory::get().usage().owned);
    }

    std::int64_t before_ = owned();
    std::int64_t blocks_before_ = blocks();
};

} // namespace prong::test
