#pragma once

#include "base/fd.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace boost::interprocess {
class mapped_region;
}

namespace prong::shm {

/// Memory that a fork family shares: a memfd of fixed size (sealed, so that nobody can shrink it
/// under somebody else's feet), mapped in all of them. It has no name in any file system, does not
/// count against /dev/shm, and is gone with the last process that maps it, however that ended.
/// It is reserved large and costs only what has been touched.
class Region {
public:
    /// Throws `std::system_error` when `size` bytes of address space are not to be had.
    explicit Region(std::size_t size);
    /// Maps the memory of another process's region of this size. Throws the same.
    Region(base::UniqueFd memory, std::size_t size);
    Region(Region&&) noexcept;
    ~Region();

    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] std::size_t size() const { return size_; }

    /// Gives the whole pages between the two offsets back to the system; they read as zero again.
    void discard(std::uint64_t begin, std::uint64_t end) const noexcept;

    /// The memfd, for a process that is to map it too. The region does not need it.
    [[nodiscard]] base::UniqueFd release_descriptor() noexcept { return std::move(memory_); }

    /// Makes all between the two offsets read as zero, the same way as far as that goes: what was
    /// never touched stays so.
    void clear(std::uint64_t begin, std::uint64_t end) const noexcept;

    /// Children that are forked from now on do not get the mapping.
    void keep_from_children() const noexcept;

    /// This process may not write to it any more. Few steps, however large it is, before it has
    /// been touched here.
    void make_read_only() const noexcept;

private:
    base::UniqueFd memory_;
    std::unique_ptr<boost::interprocess::mapped_region> mapping_;
    std::byte* base_;
    std::size_t size_;
};

/// What the machine (and the memory cgroup) has left for more shared pages, in bytes; an estimate.
std::uint64_t available_memory();

} // namespace prong::shm
