#include "shm/region.hpp"

#include "base/errno.hpp"
#include "base/file.hpp"
#include "os/cgroup.hpp"
#include "os/descriptor.hpp"
#include "os/file_size.hpp"
#include "os/usage.hpp"

#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace prong::shm {
namespace {

namespace bip = boost::interprocess;

base::UniqueFd create_memfd(std::size_t size, const char* name) {
    base::UniqueFd fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) base::throw_errno("memfd_create");
    fd = os::lift(std::move(fd));
    if (os::change_file_size([&] { return ftruncate(fd.get(), static_cast<off_t>(size)); }) != 0) {
        const std::string what = "ftruncate to the " + std::to_string(size) +
                                 " bytes that shared memory takes at least (allow larger "
                                 "files: RLIMIT_FSIZE, `ulimit -f`)";
        base::throw_errno(errno == EFBIG ? what.c_str() : "ftruncate");
    }
    if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        base::throw_errno("fcntl(F_ADD_SEALS)");
    }
    return fd;
}

/// Adapts a descriptor to what Boost.Interprocess can map.
struct Memfd {
    int fd;

    [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const {
        return {.handle = fd, .is_xsi = false};
    }
};

/// Maps the first page and unlocks it.
std::unique_ptr<bip::mapped_region> map_first_page(int fd) {
    try {
        const Memfd memory{fd};
        auto page = std::make_unique<bip::mapped_region>(memory, bip::read_write, 0,
                                                         bip::mapped_region::get_page_size(),
                                                         nullptr, MAP_SHARED | MAP_NORESERVE);
        munlock(page->get_address(), page->get_size());
        return page;
    } catch (const bip::interprocess_exception& error) {
        base::throw_errno("mmap", error.get_native_error());
    }
}

/// Maps the whole memory by growing the mapping of its first page. In a program that has called
/// `mlockall(MCL_FUTURE)` a new mapping would be locked, and so filled; one that grows out of an
/// unlocked mapping stays unlocked.
std::byte* map_all(const bip::mapped_region& first_page, std::size_t size) {
    void* const base = mremap(first_page.get_address(), 0, size, MREMAP_MAYMOVE);
    if (base == MAP_FAILED) base::throw_errno("mremap");
    return static_cast<std::byte*>(base);
}

/// Returns the begin of the first page and the end of the last page that lie entirely within.
std::pair<std::uint64_t, std::uint64_t> whole_pages(std::uint64_t begin, std::uint64_t end) {
    const std::uint64_t page = os::page_bytes();
    return {(begin + page - 1) / page * page, end / page * page};
}

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t read_number(const std::string& path) {
    const auto text = base::read_file(path);
    return text ? base::to_number(*text).value_or(unlimited) : unlimited;
}

std::uint64_t machine_memory() {
    const std::string text = base::read_file("/proc/meminfo").value_or("");
    const auto kibibytes = base::number_after("MemAvailable:", text);
    return kibibytes ? *kibibytes * 1024 : unlimited;
}

/// Returns what the cgroup has left below its limit.
std::uint64_t memory_left_in(const os::CgroupFolder& folder) {
    const bool is_new = folder.version == 2;
    const std::uint64_t limit =
        read_number(folder.path + (is_new ? "/memory.max" : "/memory.limit_in_bytes"));
    const std::uint64_t usage =
        read_number(folder.path + (is_new ? "/memory.current" : "/memory.usage_in_bytes"));
    if (limit == unlimited) return limit;
    return usage < limit ? limit - usage : 0;
}

} // namespace

Region::Region(std::size_t size, const char* name) : Region(create_memfd(size, name), size) {}

Region::Region(base::UniqueFd memory, std::size_t size)
    : memory_(std::move(memory)), first_page_(map_first_page(memory_.get())),
      base_(map_all(*first_page_, size)), size_(size) {
    madvise(base_, size_, MADV_DONTDUMP); // keeps the reservation out of core files
}

Region::Region(Region&& other) noexcept
    : memory_(std::move(other.memory_)), first_page_(std::move(other.first_page_)),
      base_(std::exchange(other.base_, nullptr)), size_(other.size_) {}

Region::~Region() {
    if (base_ != nullptr) munmap(base_, size_);
}

void Region::discard(std::uint64_t begin, std::uint64_t end) const noexcept {
    const auto [first, last] = whole_pages(begin, end);
    if (first < last) madvise(base_ + first, last - first, MADV_REMOVE);
}

void Region::clear(std::uint64_t begin, std::uint64_t end) const noexcept {
    const auto [first, last] = whole_pages(begin, end);
    // Fails for locked pages.
    const bool discarded = first < last && madvise(base_ + first, last - first, MADV_REMOVE) == 0;
    std::memset(base_ + begin, 0, (discarded ? first : end) - begin);
    if (discarded) std::memset(base_ + last, 0, end - last);
}

void Region::keep_from_children() const noexcept {
    madvise(base_, size_, MADV_DONTFORK);
    madvise(first_page_->get_address(), first_page_->get_size(), MADV_DONTFORK);
}

void Region::make_read_only() const noexcept {
    mprotect(base_, size_, PROT_READ);
    mprotect(first_page_->get_address(), first_page_->get_size(), PROT_READ);
}

std::uint64_t available_memory() {
    std::uint64_t left = machine_memory();
    for (const os::CgroupFolder& folder : os::cgroup_folders("memory"))
        left = std::min(left, memory_left_in(folder));
    return left;
}

} // namespace prong::shm
