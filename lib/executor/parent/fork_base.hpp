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

/// What the processes of a pool are forked from: the zygote if this process has one, else this
/// process as it is when the pool is made. Only functions that the fork base had can be tasks.
///
/// Thread safety: any, once the supervisor is started.
class ForkBase {
public:
    ForkBase();

    /// Forks the supervisor, which forks the workers. Throws `std::system_error`;
    /// `std::invalid_argument` for a hook that does not reach them.
    [[nodiscard]] os::PidFd start_supervisor(SharedState& state, const SupervisorOptions& options);

    /// Throws `std::invalid_argument` if the task's module has been loaded since. `arguments` are
    /// encoded.
    void require_known(const detail::TaskType& type, std::span<const std::byte> arguments) const {
        const void* const unknown = find_unknown(type, arguments);
        if (unknown != nullptr) refuse(type, arguments, unknown);
    }

    /// What a task that was known once is called in messages: its module may have been unloaded
    /// since, with the code that knows the name.
    [[nodiscard]] std::string name_of(const detail::TaskType& type,
                                      std::span<const std::byte> arguments) const {
        if (find_unknown(type, arguments) != nullptr) return "a task of a module that was unloaded";
        return type.name(detail::Reader(arguments));
    }

private:
    static constexpr std::uintptr_t least_address = 1 << 16;

    [[nodiscard]] os::PidFd start_by_zygote(SharedState& state, const SupervisorOptions& options,
                                            int memory) const;
    /// The type or the function, if it was not there when the workers were forked or is not there
    /// now; null if all is known.
    [[nodiscard]] const void* find_unknown(const detail::TaskType& type,
                                           std::span<const std::byte> arguments) const {
        if (!modules_.had(&type)) return &type;
        std::uintptr_t address = 0;
        if (!type.begins_with_address || arguments.size() < sizeof(address)) return nullptr;
        std::memcpy(&address, arguments.data(), sizeof(address));
        // A pointer to a virtual function is an offset.
        const auto* const function = reinterpret_cast<const void*>(address);
        return address >= least_address && !modules_.had(function) ? function : nullptr;
    }

    [[noreturn]] void refuse(const detail::TaskType& type, std::span<const std::byte> arguments,
                             const void* address) const;
    [[nodiscard]] std::string too_late(const std::string& what, const void* address) const;
    [[nodiscard]] WorkerHook::Function plain_form(const WorkerHook& hook, const char* name) const;

    proc::Zygote* zygote_;
    os::LoadedModules modules_;
};

} // namespace prong::executor
