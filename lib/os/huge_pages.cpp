#include <prong/detail/huge_pages.hpp>

#include <sys/mman.h>

#include <cstdint>

namespace prong::detail {
namespace {

/// The size of a huge page on most machines. Where it is another one, the kernel uses huge pages
/// only if they fit.
constexpr std::uintptr_t huge_page_bytes = 2 << 20;

} // namespace

void prefer_huge_pages(void* begin, std::size_t size) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    const std::uintptr_t first = (address + huge_page_bytes - 1) & ~(huge_page_bytes - 1);
    const std::uintptr_t last = (address + size) & ~(huge_page_bytes - 1);
    if (first >= last) return;
    auto* const pages = reinterpret_cast<void*>(first);
    unsigned char is_touched = 0;
    if (mincore(pages, 1, &is_touched) != 0 || (is_touched & 1) != 0) return;
    madvise(pages, last - first, MADV_HUGEPAGE); // refused where the kernel has none
}

} // namespace prong::detail
