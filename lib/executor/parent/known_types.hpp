#pragma once

#include <prong/detail/task_type.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace prong::executor {

/// The kinds of tasks that this process has submitted, in private memory: what a record in shared
/// memory says is one is not believed otherwise. Full, it forgets to add, which costs some
/// statistics their names.
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

    /// The type at this address, or null if there is none.
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
