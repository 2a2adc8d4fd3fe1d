#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prong::os {

/// The program and the shared objects that it had loaded at one moment: what a process forked then
/// has. All addresses are valid in the fork family only.
///
/// Thread safety: any.
class LoadedModules {
public:
    static LoadedModules now();

    /// Returns whether the function or constant at the address was there at that moment; false if
    /// it has been unloaded since. Returns true also for an address that was and is in no module,
    /// such as code generated at run time, about which nothing is known. Takes a few nanoseconds
    /// for the program itself, some more for a shared object.
    [[nodiscard]] bool had(const void* address) const noexcept {
        const auto place = reinterpret_cast<std::uintptr_t>(address);
        return place - program_begin_ < program_size_ || shared_object_had(place);
    }

private:
    struct Segment {
        std::uintptr_t begin;
        std::uintptr_t end;
        std::uint64_t module; ///< differs between modules loaded here one after the other
    };

    [[nodiscard]] bool shared_object_had(std::uintptr_t address) const noexcept;

    std::uintptr_t program_begin_ = 0;
    std::uintptr_t program_size_ = 0;
    std::vector<Segment> segments_; ///< by address
    std::uint64_t unloads_ = 0;     ///< how many modules had been unloaded
};

/// Returns the file of the module that contains the address; "?" if no module does.
std::string module_path(const void* address);

/// Returns a number that identifies the module that contains the address, and differs from that of
/// another module loaded there; 0 if no module does. Takes no lock (glibc 2.35 and later), so no
/// lock that a fork may have left locked.
std::uint64_t module_identity(const void* address) noexcept;

/// Returns whether the address is in the program itself, which is never unloaded.
bool is_in_program(const void* address) noexcept;

/// Returns the build id of the program, in bytes; empty if it was linked without one.
std::string program_build_id();

/// A loaded module: the program or a shared object.
struct Module {
    std::string path;     ///< empty for the program
    std::string build_id; ///< in bytes; empty if it was linked without one
    std::uintptr_t bias;  ///< what is added to the addresses in its file
    std::uintptr_t begin; ///< of all that is loaded of it
    std::uintptr_t end;
};

/// Returns the modules that are loaded now, the program first.
std::vector<Module> list_modules();

/// Returns how many modules have been unloaded since the program began.
std::uint64_t unloaded_modules() noexcept;

} // namespace prong::os
