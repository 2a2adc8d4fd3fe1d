#include "executor/parent/fork_base.hpp"

#include "executor/supervisor/delegate.hpp"
#include "os/child.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"
#include "os/stack.hpp"
#include "os/terminal.hpp"
#include "proc/inherit.hpp"
#include "proc/zygote.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
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

/// What the zygote must know to make a supervisor. With it come the memfd and copies of the
/// descriptors to keep.
struct Request {
    SharedState::Sizes sizes;
    WorkerHook::Function initializer;
    WorkerHook::Function on_start;
    WorkerHook::Function on_exit;
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
static_assert(proc::most_kept < os::most_passed);

int run_delegate(SharedState& state, const SupervisorOptions& options, int parent_pidfd) {
    PoolDelegate delegate(state, options);
    try {
        os::give_up_descriptors(options.inherited, options.kept, {{parent_pidfd}});
        os::give_up_terminal(); // a worker is a background process: reading would stop it
        const base::UniqueFd bell = options.doorbell.listen();
        return proc::supervise(delegate, state.workers(),
                               {.parent_pidfd = parent_pidfd, .bell = bell.get()});
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
        if (os::wait_readable(parent_pidfd, base::Deadline::now())) return false;
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
    SupervisorOptions options{.hooks = {.initializer = request.initializer,
                                        .on_start = request.on_start,
                                        .on_exit = request.on_exit},
                              .recycling = request.recycling,
                              .break_on_death = request.break_on_death,
                              .inherited = request.inherited,
                              .kept = {},
                              .cpus = request.cpus,
                              .doorbell = request.doorbell,
                              .program = request.program};
    const auto passed = std::make_shared<std::vector<os::PassedFd>>();
    for (std::size_t i = 1; i < fds.size(); ++i) {
        const int number = request.numbers.at(i - 1);
        options.kept.push_back(number);
        passed->push_back(
            {.fd = std::move(fds[i]), .number = number, .flags = request.flags.at(i - 1)});
    }
    return [state, options, passed](base::UniqueFd parent) {
        if (!is_wanted(*state, parent.get())) return 0;
        try {
            os::restore_numbers(*passed, parent);
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

ForkBase::ForkBase()
    : zygote_(proc::Zygote::of_this_process()),
      modules_(zygote_ != nullptr ? zygote_->modules() : os::LoadedModules::now()) {}

os::PidFd ForkBase::start_supervisor(SharedState& state, const SupervisorOptions& options) {
    base::UniqueFd memory = state.region.release_descriptor();
    if (zygote_ != nullptr) return start_by_zygote(state, options, memory.get());
    memory.reset();
    // Blocked, so that no signal is lost or kills the supervisor before it handles signals.
    os::Fork fork = os::fork_with_pidfd(os::ChildSignals::blocked);
    // `_exit`: the parent's buffers and objects must not be flushed or destroyed twice.
    if (fork.pid == 0) _exit(run_supervisor(state, options, fork.process.open()));
    return std::move(fork.process);
}

os::PidFd ForkBase::start_by_zygote(SharedState& state, const SupervisorOptions& options,
                                    int memory) const {
    const WorkerHooks& hooks = options.hooks;
    Request request{.sizes = state.sizes(),
                    .initializer = plain_form(hooks.initializer, "initializer"),
                    .on_start = plain_form(hooks.on_start, "on_worker_start"),
                    .on_exit = plain_form(hooks.on_exit, "on_worker_exit"),
                    .recycling = options.recycling,
                    .break_on_death = options.break_on_death,
                    .inherited = options.inherited,
                    .cpus = options.cpus,
                    .doorbell = options.doorbell,
                    .numbers = {},
                    .flags = {},
                    .program = options.program};
    std::vector<int> fds{memory};
    for (const int fd : options.kept) {
        request.numbers.at(fds.size() - 1) = fd;
        request.flags.at(fds.size() - 1) = fcntl(fd, F_GETFD);
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

WorkerHook::Function ForkBase::plain_form(const WorkerHook& hook, const char* name) const {
    if (!hook) return nullptr;
    const WorkerHook::Function function = hook.plain();
    const std::string text = std::string("PoolOptions::") + name;
    if (function == nullptr) {
        throw std::invalid_argument(text +
                                    " must be a plain function (void f()) or a lambda without "
                                    "captures, because workers are forked from the zygote, which "
                                    "has nothing that was made after start_zygote()");
    }
    const auto* const address = reinterpret_cast<const void*>(function);
    if (!modules_.had(address)) throw std::invalid_argument(too_late(text, address));
    return function;
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
