#include "os/modules.hpp"

#include <prong/detail/code_place.hpp>

#include <dlfcn.h>
#include <link.h>
#include <sys/auxv.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

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

/// Calls `visit(bytes)` for each segment of notes.
template <typename Visit>
void visit_notes(const dl_phdr_info& info, Visit visit) {
    for (const ElfW(Phdr) & header : headers_of(info)) {
        if (header.p_type != PT_NOTE) continue;
        const auto place = info.dlpi_addr + header.p_vaddr;
        visit(std::string_view(reinterpret_cast<const char*>(place), header.p_memsz));
    }
}

/// Hashes the module's layout and notes. The build id, which changes with the code, is a note;
/// without one, a rebuilt module may have the same hash.
std::uint64_t hash_content(std::uint64_t seed, const dl_phdr_info& info) {
    for (const ElfW(Phdr) & header : headers_of(info)) seed = hash(seed, &header, sizeof(header));
    visit_notes(info,
                [&](std::string_view notes) { seed = hash(seed, notes.data(), notes.size()); });
    return seed;
}

/// Hashes the module's name and address as well.
std::uint64_t identity_of(const dl_phdr_info& info) {
    return hash_content(hash(info.dlpi_addr, info.dlpi_name, std::strlen(info.dlpi_name)), info);
}

/// Identifies a shared object in every execution of the program.
std::uint64_t build_of(const dl_phdr_info& info) {
    constexpr std::uint64_t seed = 0xcbf29ce484222325; // FNV-1a
    return hash_content(seed, info);
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

namespace {

#if __GLIBC_PREREQ(2, 35)

/// Calls `visit(info)` for the module that contains the address, if one does.
template <typename Visit>
void visit_module_of(const void* address, Visit visit) {
    dl_find_object found{};
    if (_dl_find_object(const_cast<void*>(address), &found) != 0) return;
    dl_phdr_info info{};
    info.dlpi_addr = found.dlfo_link_map->l_addr;
    info.dlpi_name = found.dlfo_link_map->l_name;
    const auto* const header = static_cast<const ElfW(Ehdr)*>(found.dlfo_map_start);
    if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) == 0) {
        const auto* const begin = static_cast<const std::byte*>(found.dlfo_map_start);
        info.dlpi_phdr = reinterpret_cast<const ElfW(Phdr)*>(begin + header->e_phoff);
        info.dlpi_phnum = header->e_phnum;
    }
    visit(info);
}

#else

template <typename Visit>
void visit_module_of(const void* address, Visit visit) {
    const auto place = reinterpret_cast<std::uintptr_t>(address);
    visit_modules([&](const dl_phdr_info& info) {
        bool is_here = false;
        visit_segments(info, [&](std::uintptr_t begin, std::uintptr_t end) {
            is_here = is_here || (begin <= place && place < end);
        });
        if (is_here) visit(info);
        return is_here;
    });
}

#endif

/// Calls `visit(info)` for the program.
template <typename Visit>
void visit_program(Visit visit) {
    visit_module_of(reinterpret_cast<const void*>(getauxval(AT_PHDR)), visit);
}

/// Returns the build id among the notes, or an empty text.
std::string build_id_in(std::string_view notes) {
    constexpr std::string_view owner("GNU\0", 4);
    const auto aligned = [](std::size_t size) { return (size + 3) / 4 * 4; };
    ElfW(Nhdr) header{};
    while (notes.size() >= sizeof(header)) {
        std::memcpy(&header, notes.data(), sizeof(header));
        notes.remove_prefix(sizeof(header));
        const std::size_t name_size = aligned(header.n_namesz);
        if (name_size + header.n_descsz > notes.size()) break;
        if (header.n_type == NT_GNU_BUILD_ID && notes.substr(0, header.n_namesz) == owner)
            return std::string(notes.substr(name_size, header.n_descsz));
        notes.remove_prefix(std::min(notes.size(), name_size + aligned(header.n_descsz)));
    }
    return {};
}

std::string build_id_of(const dl_phdr_info& info) {
    std::string id;
    visit_notes(info, [&](std::string_view notes) {
        if (id.empty()) id = build_id_in(notes);
    });
    return id;
}

} // namespace

std::uint64_t module_identity(const void* address) noexcept {
    std::uint64_t identity = 0;
    visit_module_of(address, [&](const dl_phdr_info& info) { identity = identity_of(info); });
    return identity;
}

std::string program_build_id() {
    std::string id;
    visit_program([&](const dl_phdr_info& info) { id = build_id_of(info); });
    return id;
}

std::vector<Module> list_modules() {
    std::vector<Module> modules;
    visit_modules([&](const dl_phdr_info& info) {
        Module module{.path = info.dlpi_name,
                      .build_id = build_id_of(info),
                      .bias = info.dlpi_addr,
                      .begin = std::numeric_limits<std::uintptr_t>::max(),
                      .end = 0};
        visit_segments(info, [&](std::uintptr_t begin, std::uintptr_t end) {
            module.begin = std::min(module.begin, begin);
            module.end = std::max(module.end, end);
        });
        modules.push_back(std::move(module));
        return false;
    });
    return modules;
}

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

namespace prong::detail {

CodePlace place_of(const void* address) noexcept {
    const auto number = reinterpret_cast<std::uintptr_t>(address);
    CodePlace place{.module = CodePlace::none, .offset = number};
    os::visit_module_of(address, [&](const dl_phdr_info& info) {
        const bool is_program = *info.dlpi_name == '\0';
        place = {.module = is_program ? CodePlace::program : os::build_of(info),
                 .offset = number - info.dlpi_addr};
    });
    return place;
}

const void* at_place(const CodePlace& place, std::size_t size) noexcept {
    if (place.module == CodePlace::none) return reinterpret_cast<const void*>(place.offset);
    std::uintptr_t address = 0;
    const auto look = [&](const dl_phdr_info& info) {
        const std::uintptr_t wanted = info.dlpi_addr + place.offset;
        os::visit_segments(info, [&](std::uintptr_t begin, std::uintptr_t end) {
            if (begin <= wanted && wanted < end && size <= end - wanted) address = wanted;
        });
    };
    if (place.module == CodePlace::program) {
        os::visit_program(look);
    } else {
        os::visit_modules([&](const dl_phdr_info& info) {
            const bool is_it = *info.dlpi_name != '\0' && os::build_of(info) == place.module;
            if (is_it) look(info);
            return is_it;
        });
    }
    return reinterpret_cast<const void*>(address);
}

} // namespace prong::detail
