#include "os/fork_depth.hpp"

#include "os/usage.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

// The word lies in a page that the kernel clears in the child of every fork. A fork handler would
// not do: some kinds of fork do not call it, and a static object would have to register it.

namespace prong::os {
namespace {

using detail::DepthWord;

// Both stay 0. The first stands for: no page was requested yet. The second: no page is available.
constinit DepthWord before_first_use{0};
constinit DepthWord without_page{0};

/// The largest depth that this process and its ancestors have taken.
constinit std::atomic<unsigned> last_depth{0};

/// The fallback without a page: the process (lower half) whose depth is the upper half.
constinit std::atomic<std::uint64_t> depth_by_pid{0};

void* map_page() noexcept {
    const auto size = page_bytes();
    void* const page =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return nullptr;
    if (madvise(page, size, MADV_WIPEONFORK) == 0) return page;
    munmap(page, size);
    return nullptr;
}

DepthWord* make_word() noexcept {
    void* const page = map_page();
    DepthWord* const made = page != nullptr ? static_cast<DepthWord*>(page) : &without_page;
    DepthWord* word = &before_first_use;
    if (detail::depth_word.compare_exchange_strong(word, made, std::memory_order_acq_rel))
        return made;
    // Another thread has stored its word first.
    if (page != nullptr) munmap(page, page_bytes());
    return word;
}

unsigned find_depth_by_pid() noexcept {
    const auto pid = static_cast<std::uint32_t>(getpid());
    std::uint64_t known = depth_by_pid.load();
    while (static_cast<std::uint32_t>(known) != pid) {
        const std::uint64_t own = ((known >> 32) + 1) << 32 | pid;
        if (depth_by_pid.compare_exchange_strong(known, own)) known = own;
    }
    return static_cast<unsigned>(known >> 32);
}

} // namespace

constinit std::atomic<DepthWord*> detail::depth_word{&before_first_use};

unsigned detail::find_fork_depth() noexcept {
    DepthWord* word = depth_word.load(std::memory_order_acquire);
    if (word == &before_first_use) word = make_word();
    if (word == &without_page) return find_depth_by_pid();
    unsigned depth = 0;
    const unsigned next = last_depth.fetch_add(1) + 1;
    return word->compare_exchange_strong(depth, next) ? next : depth;
}

const std::atomic<unsigned>* fork_depth_word() noexcept {
    static_cast<void>(fork_depth()); // makes the word
    const DepthWord* const word = detail::depth_word.load(std::memory_order_acquire);
    return word == &without_page ? nullptr : word;
}

} // namespace prong::os
