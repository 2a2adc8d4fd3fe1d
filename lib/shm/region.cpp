#include "shm/region.hpp"

#include "base/errno.hpp"

#include <boost/interprocess/mapped_region.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

namespace prong::shm {
namespace {

namespace bip = boost::interprocess;

base::UniqueFd create_memfd(std::size_t size) {
    base::UniqueFd fd(memfd_create("prong", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd) base::throw_errno("memfd_create");
    if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) base::throw_errno("ftruncate");
    if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        base::throw_errno("fcntl(F_ADD_SEALS)");
    }
    return fd;
}

/// Shows a descriptor to Boost.Interprocess as something that can be mapped.
struct Memfd {
    int fd;

    [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const {
        return {.handle = fd, .is_xsi = false};
    }
};

std::unique_ptr<bip::mapped_region> map(int fd, std::size_t size) {
    try {
        const Memfd memory{fd};
        return std::make_unique<bip::mapped_region>(memory, bip::read_write, 0, size, nullptr,
                                                    MAP_SHARED | MAP_NORESERVE);
    } catch (const bip::interprocess_exception& error) {
        base::throw_errno("mmap", error.get_native_error());
    }
}

/// The first page that begins in there, and the end of the last one that ends in there.
std::pair<std::uint64_t, std::uint64_t> whole_pages(std::uint64_t begin, std::uint64_t end) {
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    return {(begin + page - 1) / page * page, end / page * page};
}

std::uint64_t read_number(const char* path) {
    std::uint64_t value = 0;
    std::ifstream file(path);
    return file >> value ? value : std::numeric_limits<std::uint64_t>::max();
}

std::uint64_t machine_memory() {
    std::ifstream file("/proc/meminfo");
    std::string name;
    std::uint64_t kibibytes = 0;
    std::string unit;
    while (file >> name >> kibibytes && std::getline(file, unit)) {
        if (name == "MemAvailable:") return kibibytes * 1024;
    }
    return std::numeric_limits<std::uint64_t>::max();
}

/// What is left below a cgroup's limit, as far as the container shows its own at the usual place.
std::uint64_t cgroup_memory(const char* limit_path, const char* usage_path) {
    const std::uint64_t limit = read_number(limit_path);
    const std::uint64_t usage = read_number(usage_path);
    if (limit == std::numeric_limits<std::uint64_t>::max()) return limit;
    return usage < limit ? limit - usage : 0;
}

} // namespace

Region::Region(std::size_t size) : Region(create_memfd(size), size) {}

Region::Region(base::UniqueFd memory, std::size_t size)
    : memory_(std::move(memory)), mapping_(map(memory_.get(), size)),
      base_(static_cast<std::byte*>(mapping_->get_address())), size_(size) {
    madvise(base_, size_, MADV_DONTDUMP); // a core file should not hold the whole reservation
}

Region::Region(Region&&) noexcept = default;
Region::~Region() = default;

void Region::discard(std::uint64_t begin, std::uint64_t end) const noexcept {
    const auto [first, last] = whole_pages(begin, end);
    if (first < last) madvise(base_ + first, last - first, MADV_REMOVE);
}

void Region::clear(std::uint64_t begin, std::uint64_t end) const noexcept {
    const auto [first, last] = whole_pages(begin, end);
    const bool discarded =
        first < last && madvise(base_ + first, last - first, MADV_REMOVE) == 0; // not if locked
    std::memset(base_ + begin, 0, (discarded ? first : end) - begin);
    if (discarded) std::memset(base_ + last, 0, end - last);
}

void Region::keep_from_children() const noexcept {
    madvise(base_, size_, MADV_DONTFORK);
}

void Region::make_read_only() const noexcept {
    mprotect(base_, size_, PROT_READ);
}

std::uint64_t available_memory() {
    return std::min({machine_memory(),
                     cgroup_memory("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
                     cgroup_memory("/sys/fs/cgroup/memory/memory.limit_in_bytes",
                                   "/sys/fs/cgroup/memory/memory.usage_in_bytes")});
}

} // namespace prong::shm
