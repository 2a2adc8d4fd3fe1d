#pragma once

#include "os/modules.hpp"

#include <prong/detail/task_type.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace prong::mpi {

/// Translates addresses of code and constants between two processes of the same program, each of
/// which has loaded its modules elsewhere. Modules are the same if their build ids are.
class AddressMap {
public:
    /// `theirs` and `ours`: all modules of the two processes. Throws `Error` if the programs, which
    /// come first, are not of the same build.
    AddressMap(std::vector<os::Module> theirs, std::span<const os::Module> ours);

    /// Returns the address here of what they have at this address; 0 if this process does not have
    /// it.
    [[nodiscard]] std::uintptr_t to_ours(std::uintptr_t address) const;

    /// Returns the type that they have at an address. Translates the address of a function with
    /// which the encoded arguments begin. Throws `Error` in words if this process does not have one
    /// of them.
    const detail::TaskType& task_type(std::uintptr_t address, std::span<std::byte> arguments) const;

private:
    [[nodiscard]] std::uintptr_t require(std::uintptr_t address) const;
    struct Range {
        std::uintptr_t begin;
        std::uintptr_t end;
        std::uintptr_t shift; ///< to this process
    };

    std::vector<os::Module> theirs_;
    std::vector<Range> ranges_; ///< of theirs, by address
};

} // namespace prong::mpi
