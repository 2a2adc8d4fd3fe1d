#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>

/// What processes use of the machine.
namespace prong::os {

/// The size of a page of memory.
std::uint64_t page_bytes() noexcept;

/// The machine's memory in bytes.
std::uint64_t physical_memory() noexcept;

/// The resident memory of a process that is its own (not shared files or shared memory), in bytes;
/// 0 if it has ended.
std::uint64_t own_resident_bytes(pid_t pid) noexcept;

/// The processor time that all threads of a process have used; zero if it has ended.
std::chrono::nanoseconds processor_time(pid_t pid) noexcept;

/// The address space that a process has reserved, now and at most so far, in bytes.
struct AddressSpace {
    std::uint64_t reserved = 0;
    std::uint64_t peak = 0;
};

/// This process's; zero if it is not to be seen.
AddressSpace address_space() noexcept;

/// How much more address space this process may reserve (RLIMIT_AS).
std::uint64_t address_space_left() noexcept;

/// Counts the processes that the kernel has killed for want of memory, in this process's memory
/// cgroup and those below it, or on the whole machine if there is no such cgroup to be seen.
///
/// Thread safety: one thread.
class OutOfMemoryKills {
public:
    /// Counts from now on.
    OutOfMemoryKills() : seen_(count()) {}

    /// Whether there was one that this has not told of yet: several processes may be killed before
    /// the first of them is looked at. One that nobody asks for in a second is forgotten.
    bool take_one() noexcept;

private:
    static std::uint64_t count() noexcept;

    std::uint64_t seen_;
    std::uint64_t untold_ = 0;
    std::chrono::steady_clock::time_point untold_until_{};
};

} // namespace prong::os
