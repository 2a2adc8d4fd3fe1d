#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>

/// What processes use: memory, processor time, address space.
namespace prong::os {

/// Returns the size of a page of memory.
std::uint64_t page_bytes() noexcept;

/// Returns the machine's memory in bytes.
std::uint64_t physical_memory() noexcept;

/// Returns the resident memory of a process without shared files and shared memory, in bytes; 0 if
/// it has ended.
std::uint64_t own_resident_bytes(pid_t pid) noexcept;

/// Returns the processor time of all threads of a process; zero if it has ended.
std::chrono::nanoseconds processor_time(pid_t pid) noexcept;

/// The reserved address space of a process, now and at its peak, in bytes.
struct AddressSpace {
    std::uint64_t reserved = 0;
    std::uint64_t peak = 0;
};

/// Returns this process's address space; zeros if /proc is not available.
AddressSpace address_space() noexcept;

/// Returns how many more bytes of address space this process may reserve (RLIMIT_AS).
std::uint64_t address_space_left() noexcept;

/// Counts the processes that the kernel's out-of-memory killer has killed in this process's memory
/// cgroup and those below it, or on the whole machine if no such cgroup is visible.
///
/// Thread safety: one thread.
class OutOfMemoryKills {
public:
    /// Starts counting now.
    OutOfMemoryKills() : seen_(count()) {}

    /// Takes one kill off the count; returns false if there is none. Several processes may be
    /// killed before the first one is reaped. A kill that is not taken within a second is
    /// discarded.
    bool take_one() noexcept;

private:
    static std::uint64_t count() noexcept;

    std::uint64_t seen_;
    std::uint64_t untaken_ = 0;
    std::chrono::steady_clock::time_point untaken_until_{};
};

} // namespace prong::os
