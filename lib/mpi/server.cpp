#include "mpi/server.hpp"

#include "base/clock.hpp"
#include "executor/serving/served_tasks.hpp"
#include "mpi/address_map.hpp"
#include "mpi/channel.hpp"
#include "mpi/environment.hpp"
#include "mpi/mailbox.hpp"
#include "mpi/pace.hpp"
#include "mpi/time_limit.hpp"
#include "mpi/wire.hpp"
#include "os/cpus.hpp"
#include "os/modules.hpp"
#include "os/process.hpp"

#include <prong/error.hpp>
#include <prong/version.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <sched.h>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace prong::mpi {
namespace {

using namespace std::chrono_literals;
using executor::ServedTasks;
using executor::TaskEnd;

/// How long rank 0 may take to send hello after MPI_Init, and the other ranks to leave when this
/// one does not serve.
constexpr std::chrono::nanoseconds hello_patience = 60s;

/// How often rank 0 learns how the workers are, unless it has to hear of this rank more often.
std::int64_t report_interval_ns(std::int64_t timeout_ns) {
    return std::min<std::int64_t>(timeout_ns / 16, 250'000'000);
}

/// How long workers may take to end after SIGTERM. Rank 0 waits a little longer.
constexpr auto sigterm_patience = 2s;

/// How long it may take to send the last messages, and then MPI_Finalize.
constexpr auto leave_patience = 2s;

/// Returns what rank 0 should tell the user of this rank; usually nothing.
std::string warning() {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof(cpus), &cpus) != 0 || CPU_COUNT(&cpus) > 1) return {};
    if (os::online_cpus() == 1) return {};
    return "is bound to one of " + std::to_string(os::online_cpus()) +
           " processors: start the job with --bind-to none";
}

/// Blocks until all is sent. What arrives meanwhile is dropped.
void send_all(Channel& channel, Outbox& out) {
    const auto nothing = [](const auto&...) { return std::span<std::byte>(); };
    while (out.flush(0, true) || !out.is_empty()) channel.progress(nothing, nothing);
}

/// Tells rank 0 that this rank leaves, and leaves; `most` is how long that may take.
void say_left(Channel& channel, Outbox& out, std::chrono::nanoseconds most,
              const std::vector<ServedTasks::Worker>& workers = {}) {
    const TimeLimit limit(detail::Deadline::after(most), 0);
    out.add_value(EntryKind::left, workers);
    send_all(channel, out);
    channel.finish();
}

/// Blocks until rank 0 has sent hello. Returns nothing if it has sent leave, instead or as well.
std::optional<Hello> receive_hello(Channel& channel) {
    std::optional<Hello> hello;
    const auto deadline = detail::Deadline::after(hello_patience);
    const auto nowhere = [](const Channel::Incoming&) { return std::span<std::byte>(); };
    bool is_dismissed = false;
    const auto take = [&](const Entry& entry) {
        if (entry.head.kind == EntryKind::hello)
            hello = value_of<Hello>(entry);
        else if (entry.head.kind == EntryKind::leave)
            is_dismissed = true;
        else
            throw CodecError("rank 0 has sent something else than hello");
    };
    while (!hello && !is_dismissed) {
        if (deadline.passed()) throw Error("rank 0 does not answer");
        const bool any =
            channel.progress(nowhere, [&](const Channel::Incoming&, std::span<std::byte> message) {
                read_entries(message, take);
            });
        if (!any) std::this_thread::sleep_for(1ms);
    }
    return is_dismissed ? std::nullopt : std::move(hello);
}

AddressMap addresses_of(Hello& hello) {
    if (hello.version != PRONG_VERSION) {
        throw Error("it has version " + std::to_string(PRONG_VERSION) +
                    " of prong, the program has " + std::to_string(hello.version));
    }
    const std::vector<os::Module> ours = os::list_modules();
    return {std::move(hello.modules), ours};
}

WorkerHook hook_from(SentHook hook, const AddressMap& addresses, const char* name) {
    if (hook.type == 0) return {};
    try {
        const detail::TaskType& type = addresses.task_type(hook.type, hook.bytes);
        return detail::WorkerHookAccess::make(type, std::move(hook.bytes));
    } catch (const Error& error) {
        throw Error(std::string("it does not have PoolOptions::") + name + ": " + error.what());
    }
}

PoolOptions pool_options(SentPoolOptions& sent, const AddressMap& addresses, int servers_here) {
    PoolOptions options = received(sent);
    const int cpus = static_cast<int>(os::available_cpus()) / std::max(servers_here, 1);
    options.max_workers = sent.workers < 0 ? std::max(cpus, 1) : static_cast<int>(sent.workers);
    options.initializer = hook_from(std::move(sent.initializer), addresses, "initializer");
    options.on_worker_start =
        hook_from(std::move(sent.on_worker_start), addresses, "on_worker_start");
    options.on_worker_exit = hook_from(std::move(sent.on_worker_exit), addresses, "on_worker_exit");
    return options;
}

/// Serves one rank 0.
class Server {
public:
    Server(Channel& channel, std::int64_t timeout_ns, AddressMap addresses, PoolOptions options);

    /// Returns the exit status.
    int run();
    /// Ends the pool: what its tasks do is not wanted any more.
    void kill_tasks() { tasks_.shutdown(0ns); }
    [[nodiscard]] bool is_dismissed() const { return leave_.has_value(); }

private:
    void rest();
    [[nodiscard]] std::size_t waiting() const;
    bool receive();
    void take(const Entry& entry);
    void ask(const EntryHead& head);
    void submit(const EntryHead& head, const std::optional<SentOptions>& options,
                std::span<std::byte> arguments);
    void arrived(const Inbox::Large& large);
    bool send_ends();
    [[nodiscard]] bool may_be_given_up();
    void report();
    [[nodiscard]] std::vector<ServedTasks::Worker> workers_now() const;
    int leave();

    Channel& channel_;
    std::int64_t timeout_ns_;
    AddressMap addresses_;
    unsigned workers_;
    ServedTasks tasks_;
    std::size_t unfinished_ = 0; ///< tasks that have come and not ended
    Outbox out_{channel_, 0};
    Inbox in_;
    std::vector<EntryHead> asked_; ///< of tasks whose arguments have not arrived
    std::optional<Leave> leave_;
    bool is_broken_ = false; ///< the pool runs no more tasks
    Throughput throughput_;
    Pace pace_;
    std::int64_t now_ns_ = base::steady_now_ns();
    std::int64_t worked_ns_ = now_ns_; ///< when the loop was last here
    std::int64_t heard_ns_ = now_ns_;  ///< when rank 0 was last heard
    std::int64_t reported_ns_ = 0;     ///< when it was last told that this rank lives
};

Server::Server(Channel& channel, std::int64_t timeout_ns, AddressMap addresses, PoolOptions options)
    : channel_(channel), timeout_ns_(timeout_ns), addresses_(std::move(addresses)),
      workers_(static_cast<unsigned>(options.max_workers.value_or(1))), tasks_(std::move(options)) {
    out_.add_value(EntryKind::welcome,
                   Welcome{.host = host_name(), .workers = workers_, .warning = warning()});
}

int Server::run() {
    while (!leave_) {
        now_ns_ = base::steady_now_ns();
        if (may_be_given_up()) return 1;
        bool any = receive();
        any = send_ends() || any;
        if (now_ns_ - reported_ns_ > report_interval_ns(timeout_ns_)) report();
        any = out_.flush(now_ns_, true) || any;
        if (any)
            pace_.busy();
        else
            rest();
    }
    return leave();
}

/// Naps until there may be something to do. The end of a task ends the nap, unless there is a
/// backlog. New tasks can wait while all workers are busy. Payloads cannot: MPI moves them only
/// when it is called.
void Server::rest() {
    const bool is_transferring = !in_.is_empty() || !out_.is_empty();
    if (!is_transferring && !is_broken_ && throughput_.is_backlog(waiting())) {
        std::this_thread::sleep_for(Pace::unhurried);
    } else if (!pace_.yield()) {
        const bool is_full = unfinished_ >= workers_ && !is_broken_;
        tasks_.nap(is_full && !is_transferring ? Pace::unhurried : pace_.nap());
    }
}

std::size_t Server::waiting() const {
    return unfinished_ - std::min<std::size_t>(unfinished_, workers_);
}

/// Returns whether rank 0 may have given this rank up: rank 0 was silent for too long, or this
/// process was stopped or starved for nearly as long. Then what has arrived must not run: the task
/// may run elsewhere, and its arguments may be overwritten.
bool Server::may_be_given_up() {
    const std::int64_t absent = now_ns_ - std::exchange(worked_ns_, now_ns_);
    return absent > timeout_ns_ / 4 * 3 || now_ns_ - heard_ns_ > timeout_ns_;
}

bool Server::receive() {
    const auto place = [&](const Channel::Incoming& incoming) { return in_.place(incoming.size); };
    return channel_.progress(place,
                             [&](const Channel::Incoming& incoming, std::span<std::byte> bytes) {
                                 heard_ns_ = now_ns_;
                                 if (incoming.tag == Tag::entries)
                                     read_entries(bytes, [&](const Entry& entry) { take(entry); });
                                 else if (const auto large = in_.arrived(bytes.size()))
                                     arrived(*large);
                             });
}

void Server::take(const Entry& entry) {
    const EntryHead& head = entry.head;
    switch (head.kind) {
    case EntryKind::task:
        if (unfinished_++ == 0) throughput_.resume(now_ns_);
        if (head.is_large) return in_.expect(entry, tasks_.reserve(head.number, head.size));
        return submit(head, entry.options, entry.bytes);
    case EntryKind::stop:
    case EntryKind::kill:
        if (!in_.expects(head.number)) return ask(head);
        asked_.push_back(head);
        return;
    case EntryKind::recall:
        return tasks_.cancel_waiting();
    case EntryKind::alive:
        return;
    case EntryKind::leave:
        leave_ = value_of<Leave>(entry);
        return;
    default:
        throw CodecError("rank 0 has sent what only other ranks do");
    }
}

void Server::ask(const EntryHead& head) {
    if (head.kind == EntryKind::kill)
        tasks_.kill(head.number);
    else
        tasks_.request_stop(head.number);
}

void Server::submit(const EntryHead& head, const std::optional<SentOptions>& options,
                    std::span<std::byte> arguments) {
    std::optional<TaskOptions> task_options;
    if (options) task_options = received(*options);
    try {
        const detail::TaskType& type = addresses_.task_type(head.type, arguments);
        tasks_.submit(head.number, type, arguments, task_options, head.count);
    } catch (const Error&) {
        tasks_.fail(head.number);
    }
}

/// Queues a task whose arguments have arrived in pieces.
void Server::arrived(const Inbox::Large& large) {
    if (!large.place.empty()) submit(large.head, large.options, large.place);
    std::erase_if(asked_, [&](const EntryHead& head) {
        if (head.number != large.head.number) return false;
        ask(head);
        return true;
    });
}

bool Server::send_ends() {
    if (out_.is_congested()) return false; // the results stay where they are
    const auto ended = tasks_.take_ended();
    unfinished_ -= ended.size();
    const auto cancelled = static_cast<std::size_t>(
        std::ranges::count(ended, ring::TaskState::cancelled,
                           [](const ServedTasks::Ended& task) { return task.end.state; }));
    if (cancelled != ended.size()) throughput_.count(ended.size() - cancelled, now_ns_);
    for (const auto& [number, end] : ended) {
        out_.add({.kind = EntryKind::end,
                  .state = static_cast<std::uint8_t>(end.state),
                  .count = static_cast<std::uint32_t>(waiting()),
                  .number = number,
                  .output = end.output_length},
                 end.bytes, nullptr, [this, number = number] { tasks_.release(number); });
    }
    return !ended.empty();
}

/// Tells rank 0 that this rank lives, and how its workers are. If its pool is broken says so once,
/// and stays: MPI expects every rank at the end.
void Server::report() {
    reported_ns_ = now_ns_;
    if (out_.is_congested()) return;
    const std::string cause = is_broken_ ? std::string() : tasks_.broken_cause();
    if (!cause.empty()) {
        is_broken_ = true;
        out_.add_value(EntryKind::refusal, Refusal{.host = host_name(),
                                                   .why = "its pool is broken: " + cause,
                                                   .is_hopeless = !tasks_.has_started()});
    }
    out_.add_value(EntryKind::alive, workers_now());
}

std::vector<ServedTasks::Worker> Server::workers_now() const {
    return is_broken_ ? std::vector<ServedTasks::Worker>() : tasks_.workers();
}

/// Ends the pool and leaves the job.
int Server::leave() {
    if (leave_->mode == proc::StopMode::terminate)
        tasks_.terminate(sigterm_patience);
    else
        tasks_.shutdown(
            std::chrono::nanoseconds(leave_->mode == proc::StopMode::kill ? 0 : timeout_ns_ / 2));
    {
        const TimeLimit limit(detail::Deadline::after(leave_patience), 0);
        send_all(channel_, out_);
        while (send_ends()) send_all(channel_, out_); // of tasks that were killed
    }
    say_left(channel_, out_, leave_patience, workers_now());
    return 0;
}

/// Tells rank 0 why this rank does not serve. Blocks until rank 0 tells it to leave, because MPI
/// expects every rank at the end. Returns false if rank 0 has fallen silent. `server` is empty if
/// this rank has never served.
bool refuse(Channel& channel, const std::string& why, std::int64_t timeout_ns,
            std::optional<Server>& server) {
    Outbox out(channel, 0);
    out.add_value(EntryKind::refusal,
                  Refusal{.host = host_name(), .why = why, .is_hopeless = !server});
    out.flush(0, true);
    try {
        if (server) server->kill_tasks();
    } catch (const std::exception&) { // they end with this process
    }
    const std::chrono::nanoseconds most =
        std::max(hello_patience, std::chrono::nanoseconds(timeout_ns));
    const auto nowhere = [](const Channel::Incoming&) { return std::span<std::byte>(); };
    bool is_dismissed = server && server->is_dismissed();
    auto deadline = detail::Deadline::after(most);
    const auto take = [&](const Channel::Incoming& incoming, std::span<std::byte> message) {
        deadline = detail::Deadline::after(most);
        if (incoming.tag != Tag::entries) return;
        read_entries(message, [&](const Entry& entry) {
            is_dismissed = is_dismissed || entry.head.kind == EntryKind::leave;
        });
    };
    std::int64_t reported_ns = base::steady_now_ns();
    while (!is_dismissed) {
        if (deadline.passed()) return false;
        const std::int64_t now_ns = base::steady_now_ns();
        if (now_ns - reported_ns > report_interval_ns(timeout_ns) && !out.is_congested()) {
            reported_ns = now_ns;
            out.add_value(EntryKind::alive, std::vector<ServedTasks::Worker>());
        }
        out.flush(now_ns, true);
        if (!channel.progress(nowhere, take)) std::this_thread::sleep_for(1ms);
    }
    say_left(channel, out, hello_patience);
    return true;
}

} // namespace

int run_server(Timeout launch_timeout) {
    std::optional<TimeLimit> limit;
    if (launch_timeout.value()) limit.emplace(detail::Deadline::after(launch_timeout), 1);
    Channel channel;
    const int servers_here = channel.servers_here();
    limit.reset();
    std::optional<Hello> hello = receive_hello(channel);
    if (!hello) {
        Outbox out(channel, 0);
        say_left(channel, out, hello_patience);
        return 0;
    }
    std::optional<Server> server;
    try {
        AddressMap addresses = addresses_of(*hello);
        PoolOptions options = pool_options(hello->pool, addresses, servers_here);
        server.emplace(channel, hello->rank_timeout_ns, std::move(addresses), std::move(options));
        return server->run();
    } catch (const MpiError&) {
        throw;
    } catch (const std::exception& error) {
        // (What is being sent still refers to the server.)
        return refuse(channel, error.what(), hello->rank_timeout_ns, server) ? 0 : 1;
    }
}

} // namespace prong::mpi
