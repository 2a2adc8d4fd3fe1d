#include "shm/family_memory.hpp"

/// Defined in each program that makes objects in this memory, by the headers of these objects
/// (`<prong/detail/shared_object.hpp>`), and in no other. This file is compiled by itself: where
/// the definition is visible, too, a compiler may emit it.
extern "C" [[gnu::weak]] void prong_uses_family_memory() noexcept;

namespace prong::shm {

bool FamilyMemory::is_used_by_program() noexcept {
    return &prong_uses_family_memory != nullptr;
}

} // namespace prong::shm
