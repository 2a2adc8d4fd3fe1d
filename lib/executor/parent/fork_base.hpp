#pragma once

#include "executor/shared/shared_state.hpp"
#include "executor/supervisor/delegate.hpp"
#include "os/child.hpp"
#include "os/modules.hpp"

#include <prong/detail/task_type.hpp>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace prong::proc {
class Zygote;
}

namespace prong::executor {

/// The process that a pool's processes are forked from: the zygote if this process has one, else
/// this process as it is when the pool is created. Only functions that the fork base has loaded can
/// be tasks.
///
/// Thread safety: any thread, once the supervisor is started.
class ForkBase {
public:
    /// `may_use_zygote`: whether all that the pool's processes need can be sent to a zygote.
    explicit ForkBase(bool may_use_zygote);

    /// Forks the supervisor, which forks the workers. Throws `std::system_error`, and
    /// `std::invalid_argument` for a hook that the workers cannot call.
    [[nodiscard]] os::PidFd start_supervisor(SharedState& state, const SupervisorOptions& options);

    /// Throws `std::invalid_argument` if the task's module was loaded after the fork base was
    /// forked. `arguments` are encoded.
    void require_known(const detail::TaskType& type, std::span<const std::byte> arguments) const {
        const void* const unknown = find_unknown(type, arguments);
        if (unknown != nullptr) refuse(type, arguments, unknown);
    }

    /// Returns the name, for messages, of a task that was known at its submit: its module, which
    /// has the code for the name, may have been unloaded since.
    [[nodiscard]] std::string name_of(const detail::TaskType& type,
                                      std::span<const std::byte> arguments) const {
        if (find_unknown(type, arguments) != nullptr) return "a task of a module that was unloaded";
        return type.name(detail::Reader(arguments));
    }

private:
    static constexpr std::uintptr_t least_address = 1 << 16;

    [[nodiscard]] os::PidFd start_by_zygote(SharedState& state, const SupervisorOptions& options,
                                            int memory) const;
    /// Returns the type or the function, whichever the workers do not have or this process has
    /// unloaded; null if they have both.
    [[nodiscard]] const void* find_unknown(const detail::TaskType& type,
                                           std::span<const std::byte> arguments) const {
        if (!modules_.had(&type)) return &type;
        std::uintptr_t address = 0;
        if (!type.begins_with_address || arguments.size() < sizeof(address)) return nullptr;
        std::memcpy(&address, arguments.data(), sizeof(address));
        // A pointer to a virtual function is a small offset.
        const auto* const function = reinterpret_cast<const void*>(address);
        return address >= least_address && !modules_.had(function) ? function : nullptr;
    }

    [[noreturn]] void refuse(const detail::TaskType& type, std::span<const std::byte> arguments,
                             const void* address) const;
    [[nodiscard]] std::string too_late(const std::string& what, const void* address) const;
    void require_known(const WorkerHook& hook, const char* name) const;

    proc::Zygote* zygote_;
    os::LoadedModules modules_;
};

} // namespace prong::executor
