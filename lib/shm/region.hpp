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

/// Memory that a fork family shares: a memfd of fixed size, mapped in all processes. It is sealed,
/// so no process can shrink it while another one uses it. It has no name in any file system, does
/// not count against /dev/shm, and is freed with the last process that maps it, however that ends.
/// The reservation is large and costs only what has been touched.
class Region {
public:
    /// `name` is shown in /proc/*/maps. Throws `std::system_error` if `size` bytes of address space
    /// are not available.
    explicit Region(std::size_t size, const char* name = "prong");
    /// Maps another process's region of this size. Throws the same.
    Region(base::UniqueFd memory, std::size_t size);
    Region(Region&&) noexcept;
    ~Region();

    [[nodiscard]] std::byte* base() const { return base_; }
    [[nodiscard]] std::size_t size() const { return size_; }

    /// Returns the whole pages between the two offsets to the system; they read as zero from then
    /// on.
    void discard(std::uint64_t begin, std::uint64_t end) const noexcept;

    /// Gives the memfd away, for a process that is to map it too. The region does not need it.
    [[nodiscard]] base::UniqueFd release_descriptor() noexcept { return std::move(memory_); }

    /// Makes all bytes between the two offsets read as zero. Whole pages are returned to the system
    /// where possible; untouched pages stay untouched.
    void clear(std::uint64_t begin, std::uint64_t end) const noexcept;

    /// Removes the mapping from children that are forked from now on.
    void keep_from_children() const noexcept;

    /// Makes the mapping read-only in this process. Takes few steps, however large the region, as
    /// long as this process has not touched it.
    void make_read_only() const noexcept;

private:
    base::UniqueFd memory_;
    std::unique_ptr<boost::interprocess::mapped_region> first_page_; ///< what `base_` grew out of
    std::byte* base_;
    std::size_t size_;
};

/// Estimates how many bytes of shared memory the machine and the memory cgroup have left.
std::uint64_t available_memory();

} // namespace prong::shm
