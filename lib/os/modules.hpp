#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prong::os {

/// The program and the shared objects that it had loaded at one moment: what a process forked then
/// has. (All addresses are good in the fork family only.)
///
/// Thread safety: any.
class LoadedModules {
public:
    static LoadedModules now();

    /// Whether what is at the address (of a function or a constant) was there then; false if it
    /// has been unloaded. True also for what was in no module and is in none, such as code made at
    /// run time, of which nothing is known. Some nanoseconds for the program itself, some more for
    /// what is in a shared object.
    [[nodiscard]] bool had(const void* address) const noexcept {
        const auto place = reinterpret_cast<std::uintptr_t>(address);
        return place - program_begin_ < program_size_ || shared_object_had(place);
    }

private:
    struct Segment {
        std::uintptr_t begin;
        std::uintptr_t end;
        std::uint64_t module; ///< tells modules apart that were at the same place in turn
    };

    [[nodiscard]] bool shared_object_had(std::uintptr_t address) const noexcept;

    std::uintptr_t program_begin_ = 0;
    std::uintptr_t program_size_ = 0;
    std::vector<Segment> segments_; ///< by address
    std::uint64_t unloads_ = 0;     ///< how many modules had been unloaded
};

/// The file of the module that this address is in; "?" if it is in none.
std::string module_path(const void* address);

/// A number for the module that this address is in, which another one in its place does not have;
/// 0 if it is in none. Takes no lock (glibc 2.35 and later), so none that a fork may have left
/// locked.
std::uint64_t module_identity(const void* address) noexcept;

/// Whether the address is in the program itself, which is never unloaded.
bool is_in_program(const void* address) noexcept;

/// How many modules have been unloaded since the program began.
std::uint64_t unloaded_modules() noexcept;

} // namespace prong::os
