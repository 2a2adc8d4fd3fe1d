#include "pool/fork_base.hpp"

#include "os/child.hpp"
#include "os/process.hpp"
#include "pool/crew.hpp"
#include "proc/zygote.hpp"

#include <unistd.h>

#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace prong::pool {
namespace {

/// What the zygote must know to make a supervisor, beside the memfd.
struct Request {
    SharedState::Sizes sizes;
    WorkerHook::Function initializer;
    WorkerHook::Function on_start;
    WorkerHook::Function on_exit;
    Recycling recycling;
    bool break_on_death;
    int program;
};
static_assert(std::is_trivially_copyable_v<Request>);
static_assert(sizeof(Request) <= proc::Zygote::longest_message);

int run_crew(SharedState& state, const CrewOptions& options, int parent_pidfd) {
    PoolCrew crew(state, options);
    try {
        os::close_network_sockets();
        return proc::supervise(crew, state.workers(), parent_pidfd);
    } catch (const std::exception& error) {
        crew.broke(std::string("the supervisor failed: ") + error.what());
    }
    return 1;
}

/// All of a supervisor process; returns its exit status. Nothing leaves it: beyond it is the user's
/// program.
int run_supervisor(SharedState& state, const CrewOptions& options, int parent_pidfd) noexcept {
    try {
        return run_crew(state, options, parent_pidfd);
    } catch (...) {
        return 1;
    }
}

/// Whether the parent knows of this supervisor: if not, nobody would ever end it.
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

/// In the zygote: maps the pool's memory, for the child that is forked next.
proc::Zygote::Child prepare_supervisor(base::UniqueFd memory, std::span<const std::byte> message) {
    Request request{};
    std::memcpy(&request, message.data(), sizeof(request));
    const std::shared_ptr<SharedState> state(
        new SharedState(SharedState::attach(std::move(memory), request.sizes)));
    static_cast<void>(state->region.release_descriptor());
    const CrewOptions options{.hooks = {.initializer = request.initializer,
                                        .on_start = request.on_start,
                                        .on_exit = request.on_exit},
                              .recycling = request.recycling,
                              .break_on_death = request.break_on_death,
                              .program = request.program};
    return [state, options](int parent_pidfd) {
        return is_wanted(*state, parent_pidfd) ? run_supervisor(*state, options, parent_pidfd) : 0;
    };
}

} // namespace

ForkBase::ForkBase()
    : zygote_(proc::Zygote::of_this_process()),
      modules_(zygote_ != nullptr ? zygote_->modules() : os::LoadedModules::now()) {}

base::UniqueFd ForkBase::start_supervisor(SharedState& state, const CrewOptions& options) {
    base::UniqueFd memory = state.region.release_descriptor();
    if (zygote_ != nullptr) {
        const WorkerHooks& hooks = options.hooks;
        const Request request{.sizes = state.sizes(),
                              .initializer = plain_form(hooks.initializer, "initializer"),
                              .on_start = plain_form(hooks.on_start, "on_worker_start"),
                              .on_exit = plain_form(hooks.on_exit, "on_worker_exit"),
                              .recycling = options.recycling,
                              .break_on_death = options.break_on_death,
                              .program = options.program};
        try {
            auto pidfd = zygote_->fork(&prepare_supervisor, memory.get(),
                                       std::as_bytes(std::span(&request, 1)));
            admit(state, Admission::granted);
            return pidfd;
        } catch (...) {
            admit(state, Admission::refused);
            throw;
        }
    }
    memory.reset();
    // Blocked: the supervisor must not lose or die of a signal before it is ready for it.
    os::Fork fork = os::fork_with_pidfd(os::ChildSignals::blocked);
    // Nothing of the parent's is flushed or destroyed a second time.
    if (fork.pid == 0) _exit(run_supervisor(state, options, fork.pidfd.get()));
    return std::move(fork.pidfd);
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
                               : "the pool was made; load it before that, or make a new pool");
}

} // namespace prong::pool
