#include "mpi/address_map.hpp"

#include "base/hexadecimal.hpp"

#include <prong/error.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace prong::mpi {
namespace {

void require_same_program(const os::Module& theirs, const os::Module& ours) {
    if (theirs.build_id.empty() || ours.build_id.empty()) {
        throw Error("the program has no build id, by which ranks find its functions: link it with "
                    "-Wl,--build-id");
    }
    if (theirs.build_id == ours.build_id) return;
    throw Error("it runs another build of the program: its build id is " +
                base::hexadecimal(ours.build_id) + ", not " + base::hexadecimal(theirs.build_id));
}

} // namespace

AddressMap::AddressMap(std::vector<os::Module> theirs, std::span<const os::Module> ours)
    : theirs_(std::move(theirs)) {
    if (theirs_.empty() || ours.empty()) throw Error("it has received no list of modules");
    require_same_program(theirs_.front(), ours.front());
    for (const os::Module& their : theirs_) {
        const auto our = std::ranges::find(ours, their.build_id, &os::Module::build_id);
        if (their.build_id.empty() || our == ours.end()) continue;
        ranges_.push_back(
            {.begin = their.begin, .end = their.end, .shift = our->bias - their.bias});
    }
    std::ranges::sort(ranges_, {}, &Range::end);
}

std::uintptr_t AddressMap::to_ours(std::uintptr_t address) const {
    const auto found = std::ranges::upper_bound(ranges_, address, {}, &Range::end);
    return found != ranges_.end() && found->begin <= address ? address + found->shift : 0;
}

/// Returns `to_ours`, or throws why there is no such address.
std::uintptr_t AddressMap::require(std::uintptr_t address) const {
    if (const std::uintptr_t ours = to_ours(address); ours != 0) return ours;
    const auto is_in = [&](const os::Module& module) {
        return module.begin <= address && address < module.end;
    };
    const auto module = std::ranges::find_if(theirs_, is_in);
    if (module == theirs_.end())
        throw Error("its code is in no module that the program had when the pool was created");
    if (module->build_id.empty()) {
        throw Error("its module " + module->path +
                    " has no build id, by which ranks find it: link it with -Wl,--build-id");
    }
    throw Error("the rank has no module " + module->path + " of the same build (build id " +
                base::hexadecimal(module->build_id) + "): load it before prong::mpi::serve");
}

const detail::TaskType& AddressMap::task_type(std::uintptr_t address,
                                              std::span<std::byte> arguments) const {
    const auto& type = *reinterpret_cast<const detail::TaskType*>(require(address));
    std::uintptr_t function = 0;
    if (!type.begins_with_address || arguments.size() < sizeof(function)) return type;
    std::memcpy(&function, arguments.data(), sizeof(function));
    constexpr std::uintptr_t least_address = 1 << 16; // below: the offset of a virtual function
    if (function < least_address) return type;
    function = require(function);
    std::memcpy(arguments.data(), &function, sizeof(function));
    return type;
}

} // namespace prong::mpi
