#pragma once

#include "../harness/suite.hpp"
#include "competitor.hpp"

#include <string>
#include <vector>

namespace bench {

/// Of workloads whose size is not the number of workers.
inline constexpr int two_workers = 2;

/// Runs a workload for about `seconds`, after a check of the answers. Throws if one is wrong.
Figures measure(MakeCompetitor make, const Workload& workload, int size, double seconds);

Figures measure_echo(MakeCompetitor make, int bytes, double seconds);
Figures measure_result(MakeCompetitor make, int bytes, double seconds);

/// Of a payload in program, worker and shared memory.
inline constexpr std::size_t payload_copies = 6;

/// In a program that uses `mib` of memory.
Figures measure_creation(MakeCompetitor make, int mib, double seconds);

// What only prong and CPython have.
Figures measure_as_completed(int pending, double seconds);
Figures measure_flood(int payload_mib);
Figures measure_in_place(int bytes, double seconds);
Figures measure_idleness(int workers, double seconds);

/// What the hardware allows two processes: a minimal pool (floor.cpp), or the bare steps.
Figures measure_limits(const Workload& workload, int size, double seconds);

/// Throws unless an answer is `right`.
void require(bool right, const char* what);

inline constexpr std::size_t idle_trips = 30;
void be_idle();

/// The median and the 99th percentile of seconds, in microseconds.
Figures percentiles(const std::string& name, const std::vector<double>& times);

/// The bytes that programs can still use.
std::size_t available_memory();

/// Returns whether the machine has memory for `bytes`. Prints a line if it has not.
bool has_memory_for(std::size_t bytes);

/// Memory that is in use, page by page: no huge pages, which a heap of small objects lacks.
class UsedMemory {
public:
    explicit UsedMemory(std::size_t size);
    UsedMemory(const UsedMemory&) = delete;
    UsedMemory& operator=(const UsedMemory&) = delete;
    ~UsedMemory();

private:
    void* memory_;
    std::size_t size_;
};

} // namespace bench
