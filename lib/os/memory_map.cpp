#include "os/memory_map.hpp"

#include <sys/mman.h>
#include <unistd.h>

namespace prong::os {

bool is_mapped(std::uintptr_t address) noexcept {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    unsigned char is_resident = 0;
    return mincore(reinterpret_cast<void*>(address / page * page), 1, &is_resident) == 0;
}

} // namespace prong::os
