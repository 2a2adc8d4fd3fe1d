#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/pledges.hpp>
#include <prong/detail/shared_object.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

/// \file
/// What `SharedBuffer` and `SharedView` are made of.

namespace prong::detail {

/// Owns a parcel, until its ownership passes to another process: then the handle is empty. So is a
/// copy of it in a forked process.
///
/// Thread safety: one thread at a time; any number that only look.
class PRONG_API ParcelHandle {
public:
    ParcelHandle() noexcept = default;
    /// `holder`: the parcel's word, which names this process.
    ParcelHandle(SharedCell& cell, std::uint64_t holder) noexcept;
    ParcelHandle(ParcelHandle&& other) noexcept
        : cell_(std::exchange(other.cell_, nullptr)), holder_(other.holder_), depth_(other.depth_) {
    }
    ParcelHandle& operator=(ParcelHandle&& other) noexcept {
        std::swap(cell_, other.cell_);
        std::swap(holder_, other.holder_);
        std::swap(depth_, other.depth_);
        return *this;
    }
    ~ParcelHandle() {
        if (cell_ != nullptr) release();
    }

    [[nodiscard]] bool owns() const noexcept;

    /// Pledges the parcel to the receiver of what `writer` writes; the id is zero if this handle is
    /// empty. Throws `CodecError` if parcels cannot go that way.
    [[nodiscard]] ParcelId pledge(Writer& writer) const;
    /// The same for another reference to the buffer that this one refers to.
    [[nodiscard]] ParcelId pledge_copy(Writer& writer) const;

    /// Leaves the parcel to the process `child`, which was just forked and calls `adopt` for its
    /// copy. If it ends before that, the parcel is freed as the next buffer is made.
    void give_away(int child) const noexcept;
    void adopt() noexcept;

private:
    friend struct SharedBytes;

    void release() noexcept;

    SharedCell* cell_ = nullptr;
    std::uint64_t holder_ = 0;
    unsigned depth_ = 0; ///< `os::fork_depth()` of the owning process
};

/// A buffer, or a reference to one, and where its elements lie.
struct PRONG_API SharedBytes {
    ParcelHandle parcel;
    std::byte* data = nullptr;
    std::size_t size = 0;

    /// Makes a buffer, of whatever contents. Throws `LimitExceeded` and `Error`.
    static SharedBytes make(std::size_t elements, std::size_t element_bytes) {
        return make(elements, element_bytes, &prong_uses_family_memory);
    }
    /// Takes over what was pledged. Throws `CodecError` if it is no such parcel, or not in memory
    /// that this process has; `ObjectGone` if another process was faster.
    static SharedBytes claim(ObjectKind kind, ParcelId id, std::size_t element_bytes);

    /// Makes a reference to this buffer, or to the buffer that this one refers to.
    [[nodiscard]] SharedBytes refer() const;

    [[nodiscard]] std::size_t bytes() const noexcept { return parcel.owns() ? size : 0; }

private:
    static SharedBytes make(std::size_t elements, std::size_t element_bytes,
                            void (*mark)() noexcept);
};

} // namespace prong::detail
