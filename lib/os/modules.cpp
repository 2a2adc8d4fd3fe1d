#include "os/modules.hpp"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

namespace prong::os {
namespace {

/// Calls `visit(info)` for each module, the program first, until it returns true.
template <typename Visit>
void visit_modules(Visit visit) {
    dl_iterate_phdr([](dl_phdr_info* info, std::size_t,
                       void* data) { return (*static_cast<Visit*>(data))(*info) ? 1 : 0; },
                    &visit);
}

std::span<const ElfW(Phdr)> headers_of(const dl_phdr_info& info) {
    return {info.dlpi_phdr, info.dlpi_phnum};
}

std::uint64_t hash(std::uint64_t seed, const void* data, std::size_t size) {
    constexpr std::uint64_t prime = 0x100000001b3; // FNV-1a
    for (const char c : std::string_view(static_cast<const char*>(data), size)) {
        seed = (seed ^ static_cast<unsigned char>(c)) * prime;
    }
    return seed;
}

/// Hashes the module's name, address, layout and notes. The build id, which changes with the code,
/// is a note; without one, a rebuilt module may have the same hash.
std::uint64_t identity_of(const dl_phdr_info& info) {
    std::uint64_t identity = hash(info.dlpi_addr, info.dlpi_name, std::strlen(info.dlpi_name));
    for (const ElfW(Phdr) & header : headers_of(info)) {
        identity = hash(identity, &header, sizeof(header));
        if (header.p_type != PT_NOTE) continue;
        const auto place = info.dlpi_addr + header.p_vaddr;
        identity = hash(identity, reinterpret_cast<const void*>(place), header.p_memsz);
    }
    return identity;
}

/// Calls `visit(begin, end)` for each loaded segment of the module.
template <typename Visit>
void visit_segments(const dl_phdr_info& info, Visit visit) {
    for (const ElfW(Phdr) & header : headers_of(info)) {
        if (header.p_type != PT_LOAD) continue;
        const std::uintptr_t begin = info.dlpi_addr + header.p_vaddr;
        visit(begin, begin + header.p_memsz);
    }
}

} // namespace

LoadedModules LoadedModules::now() {
    LoadedModules modules;
    visit_modules([&](const dl_phdr_info& info) {
        const std::uint64_t identity = identity_of(info);
        visit_segments(info, [&](std::uintptr_t begin, std::uintptr_t end) {
            modules.segments_.push_back({.begin = begin, .end = end, .module = identity});
        });
        modules.unloads_ = info.dlpi_subs;
        if (modules.program_size_ != 0 || modules.segments_.empty()) return false;
        const auto by_begin = [](const Segment& a, const Segment& b) { return a.begin < b.begin; };
        const auto [first, last] = std::ranges::minmax_element(modules.segments_, by_begin);
        modules.program_begin_ = first->begin;
        modules.program_size_ = last->end - first->begin;
        return false;
    });
    std::ranges::sort(modules.segments_, {}, &Segment::begin);
    return modules;
}

bool LoadedModules::shared_object_had(std::uintptr_t address) const noexcept {
    const auto found = std::ranges::upper_bound(segments_, address, {}, &Segment::end);
    const bool was_known = found != segments_.end() && found->begin <= address;
    bool had = !was_known; // if no module contains it now
    visit_modules([&](const dl_phdr_info& info) {
        if (was_known && info.dlpi_subs == unloads_) { // no other module can have replaced it
            had = true;
            return true;
        }
        bool is_here = false;
        visit_segments(info, [&](std::uintptr_t begin, std::uintptr_t end) {
            is_here = is_here || (begin <= address && address < end);
        });
        if (is_here) had = was_known && identity_of(info) == found->module;
        return is_here;
    });
    return had;
}

std::string module_path(const void* address) {
    Dl_info info{};
    return dladdr(address, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : "?";
}

#if __GLIBC_PREREQ(2, 35)

std::uint64_t module_identity(const void* address) noexcept {
    dl_find_object found{};
    if (_dl_find_object(const_cast<void*>(address), &found) != 0) return 0;
    dl_phdr_info info{};
    info.dlpi_addr = found.dlfo_link_map->l_addr;
    info.dlpi_name = found.dlfo_link_map->l_name;
    const auto* const header = static_cast<const ElfW(Ehdr)*>(found.dlfo_map_start);
    if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) == 0) {
        const auto* const begin = static_cast<const std::byte*>(found.dlfo_map_start);
        info.dlpi_phdr = reinterpret_cast<const ElfW(Phdr)*>(begin + header->e_phoff);
        info.dlpi_phnum = header->e_phnum;
    }
    return identity_of(info);
}

#else

std::uint64_t module_identity(const void* address) noexcept {
    const auto place = reinterpret_cast<std::uintptr_t>(address);
    std::uint64_t identity = 0;
    visit_modules([&](const dl_phdr_info& info) {
        visit_segments(info, [&](std::uintptr_t begin, std::uintptr_t end) {
            if (begin <= place && place < end) identity = identity_of(info);
        });
        return identity != 0;
    });
    return identity;
}

#endif

bool is_in_program(const void* address) noexcept {
    Dl_info info{};
    void* module = nullptr;
    return dladdr1(address, &info, &module, RTLD_DL_LINKMAP) != 0 &&
           *static_cast<const link_map*>(module)->l_name == '\0';
}

std::uint64_t unloaded_modules() noexcept {
    std::uint64_t unloads = 0;
    visit_modules([&](const dl_phdr_info& info) {
        unloads = info.dlpi_subs;
        return true;
    });
    return unloads;
}

} // namespace prong::os
