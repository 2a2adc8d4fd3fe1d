#pragma once

#include "base/fd.hpp"
#include "os/child.hpp"
#include "os/descriptor.hpp"
#include "os/modules.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

namespace prong::proc {

/// The parent's side of a process that was forked while the program had one thread, and forks
/// others on request. It knows nothing of what those do: a request names a function by its address.
///
/// Thread safety: `fork` by any thread. Process safety: only in the process that started it; a
/// zygote that is killed or ends makes `fork` throw, never wait.
class Zygote {
public:
    /// What a new child does, given a pidfd of the zygote's parent; returns its exit status.
    using Child = std::function<int(base::UniqueFd parent)>;
    /// Called in the zygote with what came with a request. What it throws fails the request.
    using Prepare = Child (*)(std::vector<base::UniqueFd> fds, std::span<const std::byte> message);

    static constexpr std::size_t longest_message = 4096;

    /// This process's zygote, null if it has started none.
    static Zygote* of_this_process() noexcept;

    /// See `prong::start_zygote`.
    static void start(os::Inherited inherited, const std::vector<int>& kept);

    /// Has the zygote fork a child that runs `prepare(copies of fds, message)`, with all signals
    /// blocked. Returns the child. Throws `std::system_error` when that fails, `Error` when
    /// the zygote is gone. After a throw there may be a child nevertheless, whose pidfd has not
    /// arrived: it must find out by other means whether it is wanted.
    os::PidFd fork(Prepare prepare, std::span<const int> fds, std::span<const std::byte> message);

    /// What was loaded when it was forked.
    [[nodiscard]] const os::LoadedModules& modules() const { return modules_; }

private:
    /// Goes before each request: what else arrives is no request, and is dropped.
    using Token = std::uint64_t;

    Zygote(base::UniqueFd socket, os::PidFd process, Token token, os::LoadedModules modules);

    [[nodiscard]] bool is_alive() const;
    [[noreturn]] void give_up();

    unsigned fork_depth_;
    os::LoadedModules modules_;
    os::PidFd process_;
    Token token_;
    std::mutex mutex_;     ///< guards the next one and what goes over it
    os::GuardedFd socket_; ///< none once the zygote is gone
};

} // namespace prong::proc
