#pragma once

#include <prong/detail/task_type.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace prong::executor {

/// The task types that this process has submitted, in private memory: a type that a record in
/// shared memory names is used only if it is one of them. When the set is full, further types
/// are not added, and some statistics lack names.
///
/// Thread safety: any thread.
class KnownTypes {
public:
    void insert(const detail::TaskType& type) noexcept {
        for (std::size_t i = 0; i < places_.size(); ++i) {
            std::atomic<const detail::TaskType*>& place = places_[index(&type, i)];
            const detail::TaskType* found = place.load(std::memory_order_relaxed);
            if (found == &type) return;
            if (found == nullptr && place.compare_exchange_strong(found, &type)) return;
            if (found == &type) return;
        }
    }

    /// Returns the type at this address, or null if none was submitted.
    [[nodiscard]] const detail::TaskType* find(std::uint64_t address) const noexcept {
        for (const auto& place : places_) {
            const detail::TaskType* const type = place.load(std::memory_order_relaxed);
            if (type != nullptr && reinterpret_cast<std::uint64_t>(type) == address) return type;
        }
        return nullptr;
    }

private:
    [[nodiscard]] std::size_t index(const detail::TaskType* type, std::size_t step) const {
        return (reinterpret_cast<std::uintptr_t>(type) / sizeof(*type) + step) % places_.size();
    }

    std::array<std::atomic<const detail::TaskType*>, 256> places_{};
};

} // namespace prong::executor
