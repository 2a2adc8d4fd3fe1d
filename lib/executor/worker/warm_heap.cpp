#include "executor/worker/warm_heap.hpp"

#include <malloc.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>

namespace prong::executor {
namespace {

/// How long after the last large task its memory is kept.
constexpr std::chrono::nanoseconds patience = std::chrono::seconds(2);

#ifdef __GLIBC__

/// The largest size from which the C library's heap gives each block a mapping, unless told
/// otherwise: it raises the threshold up to there by itself, when such a block is freed.
constexpr int largest_threshold = 4 * 1024 * 1024 * static_cast<int>(sizeof(long));
constexpr int default_mappings = 65536; ///< `M_MMAP_MAX`
constexpr int never_trim = -1;          ///< `M_TRIM_THRESHOLD`

/// Returns whether a block of a bit less than `largest_threshold` has a mapping of its own.
bool is_mapped_alone() {
    // A multiple of the page, and a bit: the rest of the last page is usable only in a mapping.
    constexpr std::size_t size = largest_threshold - (1 << 16) + 64;
    void* volatile block = std::malloc(size);
    const bool is_mapped = block != nullptr && malloc_usable_size(block) > size + 1024;
    std::free(block);
    return is_mapped;
}

/// Returns whether the heap adapts its threshold, which it does until the program sets one.
bool is_adaptive() {
    return !is_mapped_alone() || !is_mapped_alone();
}

void set_heap(int mappings, int trim_threshold) {
    mallopt(M_MMAP_THRESHOLD, largest_threshold);
    mallopt(M_MMAP_MAX, mappings);
    mallopt(M_TRIM_THRESHOLD, trim_threshold);
}

#endif

} // namespace

void WarmHeap::keep(std::int64_t now_ns) noexcept {
#ifdef __GLIBC__
    if (!may_change_) return;
    if (!until_ns_) {
        may_change_ = has_changed_ || is_adaptive();
        if (!may_change_) return;
        has_changed_ = true;
        set_heap(0, never_trim);
    }
    until_ns_ = now_ns + patience.count();
#endif
}

void WarmHeap::release() noexcept {
#ifdef __GLIBC__
    if (!until_ns_) return;
    until_ns_.reset();
    set_heap(default_mappings, 2 * largest_threshold);
    malloc_trim(0);
#endif
}

} // namespace prong::executor
