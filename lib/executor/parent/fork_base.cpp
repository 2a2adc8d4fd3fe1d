#include "executor/parent/fork_base.hpp"

#include "executor/shared/memory_limit.hpp"
#include "executor/supervisor/delegate.hpp"
#include "os/child.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"
#include "os/stack.hpp"
#include "os/terminal.hpp"
#include "proc/inherit.hpp"
#include "proc/process_state.hpp"
#include "proc/zygote.hpp"
#include "shm/family_memory.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace prong::executor {
namespace {

/// A hook of a request. Its encoded call lies in the pool's payload.
struct PassedHook {
    const detail::TaskType* type; ///< null: no hook
    std::uint64_t offset;
    std::uint64_t length;
};

/// What the zygote needs to fork a supervisor. The memfd, the port's ends and copies of the
/// descriptors to keep accompany it.
struct Request {
    SharedState::Sizes sizes;
    PassedHook initializer;
    PassedHook on_start;
    PassedHook on_exit;
    Timeout::Value hook_limit;
    Recycling recycling;
    bool break_on_death;
    os::Inherited inherited;
    cpu_set_t cpus;
    os::Doorbell doorbell;
    std::array<int, proc::most_kept> numbers; ///< of the descriptors to keep
    std::array<int, proc::most_kept> flags;
    int program;
};
static_assert(std::is_trivially_copyable_v<Request>);
static_assert(sizeof(Request) <= proc::Zygote::longest_message);
/// How many descriptors precede those to keep.
constexpr std::size_t own_passed = 3;
static_assert(proc::most_kept + own_passed <= os::most_passed);

using HookAccess = detail::WorkerHookAccess;

WorkerHook copy_hook(const SharedState& state, const PassedHook& hook) {
    if (hook.type == nullptr) return {};
    const std::byte* const begin = state.payload.at(hook.offset);
    return HookAccess::make(*hook.type, std::vector(begin, begin + hook.length));
}

/// A payload block with the hooks of a request, which lives until the zygote has read them.
class HookBlock {
public:
    HookBlock(SharedState& state, const WorkerHooks& hooks) : state_(state) {
        const std::uint64_t size = HookAccess::encoded(hooks.initializer).size() +
                                   HookAccess::encoded(hooks.on_start).size() +
                                   HookAccess::encoded(hooks.on_exit).size();
        if (size == 0) return;
        std::atomic<std::uint64_t> intent; // no worker exists yet
        offset_ = move_to_larger_block(state, {}, size, shm::parent_owner, intent,
                                       "the argument list of the pool's hooks")
                      .offset;
    }
    HookBlock(const HookBlock&) = delete;
    HookBlock& operator=(const HookBlock&) = delete;
    ~HookBlock() {
        if (offset_ != 0) state_.payload.free(offset_, used_);
    }

    PassedHook add(const WorkerHook& hook) {
        const detail::TaskType* const type = HookAccess::type(hook);
        const std::vector<std::byte>& bytes = HookAccess::encoded(hook);
        if (bytes.empty()) return {.type = type, .offset = 0, .length = 0};
        const PassedHook passed{.type = type, .offset = offset_ + used_, .length = bytes.size()};
        std::ranges::copy(bytes, state_.payload.at(passed.offset));
        used_ += bytes.size();
        return passed;
    }

private:
    SharedState& state_;
    std::uint64_t offset_ = 0; ///< 0: no block
    std::uint64_t used_ = 0;
};

int run_delegate(SharedState& state, const SupervisorOptions& options, int parent_pidfd) {
    PoolDelegate delegate(state, options);
    try {
        const auto [receiver, sender] = state.loops.port_fds();
        std::vector<int> own{parent_pidfd, receiver, sender};
        own.insert(own.end(), options.relay.kept.begin(), options.relay.kept.end());
        os::give_up_descriptors(options.inherited, options.kept, own);
        state.loops.open_signal();
        os::give_up_terminal(); // a worker is a background process: reading would stop it
        const base::UniqueFd bell = options.doorbell.listen();
        const int status = proc::supervise(delegate, state.processes(),
                                           {.parent_pidfd = parent_pidfd, .bell = bell.get()});
        delegate.release_payload([parent_pidfd] { // no longer than the parent lives
            pollfd parent{.fd = parent_pidfd, .events = POLLIN, .revents = 0};
            return poll(&parent, 1, 0) != 0;
        });
        return status;
    } catch (const std::exception& error) {
        delegate.broke(std::string("the supervisor failed: ") + error.what());
    }
    return 1;
}

/// Runs a supervisor process. Returns its exit status. Nothing may unwind from here into the user's
/// program.
int run_supervisor(SharedState& state, const SupervisorOptions& options,
                   int parent_pidfd) noexcept {
    try {
        // The thread that has created the pool may be pinned, or have a small stack.
        if (CPU_COUNT(&options.cpus) != 0)
            sched_setaffinity(0, sizeof(options.cpus), &options.cpus);
        return os::on_ample_stack([&] { return run_delegate(state, options, parent_pidfd); });
    } catch (...) {
        return 1;
    }
}

/// Blocks until the parent has received this supervisor's pidfd or ended. Returns whether it has
/// the pidfd: without it, no process would end this supervisor.
bool is_wanted(const SharedState& state, int parent_pidfd) {
    constexpr auto pending = static_cast<std::uint32_t>(Admission::pending);
    const os::FutexWord& word = state.control().admission;
    while (word.load(std::memory_order_acquire) == pending) {
        if (os::wait_readable(parent_pidfd, detail::Deadline::now())) return false;
        os::futex_wait(word, pending, std::chrono::milliseconds(20));
    }
    return word.load(std::memory_order_relaxed) == static_cast<std::uint32_t>(Admission::granted);
}

void admit(SharedState& state, Admission admission) {
    os::FutexWord& word = state.control().admission;
    word.store(static_cast<std::uint32_t>(admission), std::memory_order_release);
    os::futex_wake(word, os::everyone);
}

/// Runs in the zygote: maps the pool's memory for the child that is forked next.
proc::Zygote::Child prepare_supervisor(std::vector<base::UniqueFd> fds,
                                       std::span<const std::byte> message) {
    Request request{};
    std::memcpy(&request, message.data(), sizeof(request));
    const std::shared_ptr<SharedState> state(
        new SharedState(SharedState::attach(std::move(fds.at(0)), request.sizes)));
    static_cast<void>(state->region.release_descriptor());
    SupervisorOptions options{.hooks = {.initializer = copy_hook(*state, request.initializer),
                                        .on_start = copy_hook(*state, request.on_start),
                                        .on_exit = copy_hook(*state, request.on_exit),
                                        .limit = request.hook_limit},
                              .recycling = request.recycling,
                              .break_on_death = request.break_on_death,
                              .inherited = request.inherited,
                              .kept = {},
                              .cpus = request.cpus,
                              .doorbell = request.doorbell,
                              .program = request.program};
    const auto passed = std::make_shared<std::vector<os::PassedFd>>();
    const auto port = std::make_shared<LoopNotifier::PortFds>(
        LoopNotifier::PortFds{std::move(fds.at(1)), std::move(fds.at(2))});
    for (std::size_t i = own_passed; i < fds.size(); ++i) {
        const int number = request.numbers.at(i - own_passed);
        options.kept.push_back(number);
        passed->push_back(
            {.fd = std::move(fds[i]), .number = number, .flags = request.flags.at(i - own_passed)});
    }
    return [state, options, passed, port](base::UniqueFd parent) {
        if (!is_wanted(*state, parent.get())) return 0;
        try {
            os::restore_numbers(*passed, {{&parent, &port->at(0), &port->at(1)}});
            for (base::UniqueFd& fd : *port) fd = os::lift(std::move(fd));
            state->loops.adopt_port(std::move(*port));
        } catch (const std::exception& error) {
            PoolDelegate(*state, options)
                .broke(std::string("cannot keep descriptors: ") + error.what());
            return 1;
        }
        passed->clear();
        return run_supervisor(*state, options, parent.get());
    };
}

} // namespace

ForkBase::ForkBase(bool may_use_zygote)
    : zygote_(may_use_zygote ? proc::Zygote::of_this_process() : nullptr),
      modules_(zygote_ != nullptr ? zygote_->modules() : os::LoadedModules::now()) {}

os::PidFd ForkBase::start_supervisor(SharedState& state, const SupervisorOptions& options) {
    base::UniqueFd memory = state.region.release_descriptor();
    if (zygote_ != nullptr) return start_by_zygote(state, options, memory.get());
    memory.reset();
    proc::prepare_authkey();
    shm::FamilyMemory::prepare_fork();
    // Blocked, so that no signal is lost or kills the supervisor before it handles signals.
    os::Fork fork = os::fork_with_pidfd(os::ChildSignals::blocked);
    // `_exit`: the parent's buffers and objects must not be flushed or destroyed twice.
    if (fork.pid == 0) _exit(run_supervisor(state, options, fork.process.open()));
    return std::move(fork.process);
}

os::PidFd ForkBase::start_by_zygote(SharedState& state, const SupervisorOptions& options,
                                    int memory) const {
    const WorkerHooks& hooks = options.hooks;
    require_known(hooks.initializer, "initializer");
    require_known(hooks.on_start, "on_worker_start");
    require_known(hooks.on_exit, "on_worker_exit");
    HookBlock block(state, hooks);
    Request request{.sizes = state.sizes(),
                    .initializer = block.add(hooks.initializer),
                    .on_start = block.add(hooks.on_start),
                    .on_exit = block.add(hooks.on_exit),
                    .hook_limit = hooks.limit,
                    .recycling = options.recycling,
                    .break_on_death = options.break_on_death,
                    .inherited = options.inherited,
                    .cpus = options.cpus,
                    .doorbell = options.doorbell,
                    .numbers = {},
                    .flags = {},
                    .program = options.program};
    const auto [receiver, sender] = state.loops.port_fds();
    std::vector<int> fds{memory, receiver, sender};
    for (const int fd : options.kept) {
        request.numbers.at(fds.size() - own_passed) = fd;
        request.flags.at(fds.size() - own_passed) = fcntl(fd, F_GETFD);
        fds.push_back(fd);
    }
    try {
        auto supervisor =
            zygote_->fork(&prepare_supervisor, fds, std::as_bytes(std::span(&request, 1)));
        admit(state, Admission::granted);
        return supervisor;
    } catch (...) {
        admit(state, Admission::refused);
        throw;
    }
}

/// Throws `std::invalid_argument` if the zygote cannot call the hook.
void ForkBase::require_known(const WorkerHook& hook, const char* name) const {
    if (!hook) return;
    const std::string text = std::string("PoolOptions::") + name;
    const detail::TaskType* const type = HookAccess::type(hook);
    if (type == nullptr) {
        throw std::invalid_argument(text +
                                    " must be a function or a lambda without captures, with its "
                                    "arguments beside it ({f, arguments...}), because workers are "
                                    "forked from the zygote, which has nothing that was made after "
                                    "start_zygote()");
    }
    const void* const unknown = find_unknown(*type, HookAccess::encoded(hook));
    if (unknown != nullptr) throw std::invalid_argument(too_late(text, unknown));
}

void ForkBase::refuse(const detail::TaskType& type, std::span<const std::byte> arguments,
                      const void* address) const {
    throw std::invalid_argument(too_late(type.name(detail::Reader(arguments)), address));
}

std::string ForkBase::too_late(const std::string& what, const void* address) const {
    return what + " cannot run in this pool's workers: its module " + os::module_path(address) +
           " was loaded, replaced or unloaded after " +
           (zygote_ != nullptr ? "start_zygote(); load it before that"
                               : "the pool was created; load it before that, or create a new pool");
}

} // namespace prong::executor
