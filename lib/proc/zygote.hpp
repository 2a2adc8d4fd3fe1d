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

/// The parent's side of the zygote: a process that was forked while the program had one thread, and
/// forks other processes on request. A request names the function to run by its address.
///
/// Thread safety: `fork` by any thread. Process safety: only in the process that started it. `fork`
/// throws if the zygote has exited; it never hangs.
class Zygote {
public:
    /// Runs in a new child, with a pidfd of the zygote's parent. Returns its exit status.
    using Child = std::function<int(base::UniqueFd parent)>;
    /// Runs in the zygote, with the descriptors and the message of a request. An exception fails
    /// the request.
    using Prepare = Child (*)(std::vector<base::UniqueFd> fds, std::span<const std::byte> message);

    static constexpr std::size_t longest_message = 4096;

    /// Returns this process's zygote, or null if it has started none.
    static Zygote* of_this_process() noexcept;

    /// See `prong::start_zygote`.
    static void start(os::Inherited inherited, const std::vector<int>& kept);

    /// Makes the zygote fork a child that runs `prepare(copies of fds, message)`, with all signals
    /// blocked. Returns the child. Throws `std::system_error` when that fails, `Error` when the
    /// zygote has exited. After an exception a child may exist whose pidfd has not arrived: it must
    /// find out by other means whether it is wanted.
    os::PidFd fork(Prepare prepare, std::span<const int> fds, std::span<const std::byte> message);

    /// Returns the modules that were loaded when the zygote was forked.
    [[nodiscard]] const os::LoadedModules& modules() const { return modules_; }

private:
    /// Begins each request. A message without it did not come from `fork` and is dropped.
    using Token = std::uint64_t;

    Zygote(base::UniqueFd socket, os::PidFd process, Token token, os::LoadedModules modules);

    [[nodiscard]] bool is_alive() const;
    [[noreturn]] void give_up();

    unsigned fork_depth_;
    os::LoadedModules modules_;
    os::PidFd process_;
    Token token_;
    std::mutex mutex_;     ///< guards the next one and the messages on it
    os::GuardedFd socket_; ///< empty once the zygote has exited
};

} // namespace prong::proc
