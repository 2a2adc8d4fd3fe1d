#include "measure.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <iostream>
#include <new>
#include <string>

namespace bench {

std::size_t available_memory() {
    std::ifstream lines("/proc/meminfo");
    for (std::string name, rest; lines >> name; std::getline(lines, rest)) {
        std::size_t kib = 0;
        if (name == "MemAvailable:" && lines >> kib) return kib * 1024;
    }
    return 0;
}

bool has_memory_for(std::size_t bytes) {
    if (bytes <= available_memory()) return true;
    std::cerr << "  too little memory" << std::endl;
    return false;
}

UsedMemory::UsedMemory(std::size_t size) : size_(size) {
    memory_ = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    madvise(memory_, size, MADV_NOHUGEPAGE);
    std::memset(memory_, 1, size);
}

UsedMemory::~UsedMemory() {
    munmap(memory_, size_);
}

} // namespace bench
