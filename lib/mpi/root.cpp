#include "mpi/root.hpp"

#include "base/clock.hpp"
#include "executor/serving/served_tasks.hpp"
#include "mpi/channel.hpp"
#include "mpi/dismissal.hpp"
#include "mpi/launched_job.hpp"
#include "mpi/mailbox.hpp"
#include "mpi/pace.hpp"
#include "mpi/time_limit.hpp"
#include "os/modules.hpp"
#include "os/process.hpp"

#include <prong/error.hpp>
#include <prong/version.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <deque>
#include <exception>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace prong::mpi {
namespace {

using namespace std::chrono_literals;
using executor::RelayPort;
using executor::RelayTask;

/// How many bytes of arguments one rank may hold, unless a single task has more.
constexpr std::size_t most_held_bytes = 64 << 20;

/// How much work should wait at a rank, as time: enough that no worker is idle before the next
/// message, and so little that no rank has much left to do when the others are idle.
constexpr std::chrono::nanoseconds backlog = 2ms;

/// How long tasks may wait at a rank before they are to come back: if other workers are idle, and
/// if not.
constexpr std::chrono::nanoseconds wait_beside_idle = 20ms;
constexpr std::chrono::nanoseconds longest_wait = 50ms;

/// How many tasks a rank may hold.
constexpr double largest_window = 4096;

/// How many tasks are sent before the relay looks for something else to do.
constexpr std::size_t sent_at_once = most_entries;

/// How long ranks may take to leave when the program wants the pool to end at once: less than the
/// relay has until SIGKILL.
constexpr auto kill_patience = 1s;
constexpr auto terminate_patience = 2500ms;

/// How long MPI_Finalize may take.
constexpr auto finish_patience = 2s;

/// Exit codes of a relay whose call of MPI took too long.
constexpr int init_timed_out = 3;
constexpr int finish_timed_out = 0; // all messages are sent

/// An error that would come again in another job.
class Hopeless : public Error {
    using Error::Error;
};

/// Returns whether the pool needs no relay any more.
bool is_unwanted_by(const RelayPort& port) {
    return port.is_over() || port.stop_mode() >= proc::StopMode::terminate || port.is_orphaned();
}

/// A rank that serves.
struct ServerState {
    ServerState(Channel& channel, int number, std::int64_t now_ns)
        : rank(number), out(channel, number), received_ns(now_ns) {}

    int rank;
    Outbox out;
    Inbox in;
    std::string host; ///< empty until it has answered
    unsigned workers = 0;
    bool is_broken = false; ///< lives, but runs no more tasks
    bool is_lost = false;
    bool has_left = false;
    std::int64_t received_ns;       ///< when its last message was received
    std::int64_t sent_alive_ns = 0; ///< when `alive` was last sent to it

    std::size_t held = 0; ///< tasks
    std::size_t held_bytes = 0;
    Throughput throughput;
    std::int64_t waits_ns = 0;    ///< since when tasks wait there
    std::int64_t recalled_ns = 0; ///< when tasks were last recalled
    double window = 0;            ///< how many tasks it may hold
    bool was_full = false;        ///< it held as many since the window was last adjusted

    [[nodiscard]] bool serves() const { return workers != 0 && !is_gone(); }
    [[nodiscard]] std::size_t room() const {
        const auto most = static_cast<std::size_t>(window);
        return serves() && !out.is_congested() && held < most ? most - held : 0;
    }
    [[nodiscard]] bool is_idle() const { return serves() && held < workers; }
    [[nodiscard]] bool is_gone() const { return is_broken || is_lost || has_left; }
    [[nodiscard]] bool has_answered() const { return workers != 0 || is_gone(); }
    [[nodiscard]] bool has_backlog() const {
        if (is_gone()) return true;
        const bool is_transferring = !in.is_empty() || !out.is_empty();
        return !is_transferring && held > workers && throughput.is_backlog(held - workers);
    }
    [[nodiscard]] std::chrono::nanoseconds expected_wait(std::int64_t now_ns) const;
    void count_end(std::int64_t now_ns, std::uint32_t waiting);
};

/// Returns how long tasks that wait there may have to: as long as none has ended until now, or as
/// the rate says at which they end. 0 if none waits.
std::chrono::nanoseconds ServerState::expected_wait(std::int64_t now_ns) const {
    if (held <= workers) return 0ns;
    const std::chrono::nanoseconds quiet(now_ns - std::max(throughput.counted_ns(), recalled_ns));
    if (!throughput.is_newer_than(waits_ns)) return quiet; // the rate is that of other tasks
    const double by_rate = static_cast<double>(held - workers) / throughput.per_ns();
    return std::max(quiet, std::chrono::nanoseconds(static_cast<std::int64_t>(by_rate)));
}

/// Adjusts the window, so that as many tasks wait at the rank as end in the time `backlog`. What
/// else it holds is on its way or runs, however long that takes. A window that is not used does not
/// grow.
void ServerState::count_end(std::int64_t now_ns, std::uint32_t waiting) {
    if (!throughput.count(1, now_ns)) return;
    const double wanted =
        std::floor(throughput.per_ns() * static_cast<double>(backlog.count()) + 0.9);
    if (std::exchange(was_full, false) || wanted < waiting)
        window = std::clamp(window + (wanted - waiting) / 2, 1.0 * workers, largest_window);
}

/// A claimed task.
struct Held {
    std::uint64_t number = 0;      ///< 0: no task
    ServerState* server = nullptr; ///< null: not sent yet
    std::size_t bytes = 0;
};

class Root {
public:
    Root(RelayPort& port, const MpiOptions& options, const SentPoolOptions& pool);

    int run(bool launches);

private:
    void join_job(bool launches);
    bool is_unwanted_yet();
    void greet();
    bool work();
    void rest();
    bool receive();
    void take(ServerState& server, Tag tag, std::span<std::byte> bytes);
    void take(ServerState& server, const Entry& entry);
    void publish(const ServerState& server,
                 const std::vector<executor::ServedTasks::Worker>& workers);
    void take_welcome(ServerState& server, const Welcome& welcome);
    void take_refusal(ServerState& server, const Refusal& refusal);
    void take_end(ServerState& server, const Entry& entry);
    void finish(ServerState& server, const EntryHead& head, std::span<const std::byte> bytes);
    [[nodiscard]] std::uint32_t claim_of(std::uint64_t number) const {
        return static_cast<std::uint32_t>(number % held_.size());
    }
    Held* find(const ServerState& server, std::uint64_t number);
    void free(Held& held);

    bool forward_requests();
    bool forward_tasks();
    void hold(const RelayTask& task);
    bool send_waiting();
    bool recall_tasks();
    ServerState* least_loaded(std::size_t bytes);
    [[nodiscard]] std::size_t room() const;
    void send(ServerState& server);
    void flush(bool is_last);

    void check_servers();
    void lose(ServerState& server, const std::string& cause);
    void give_up_tasks(ServerState& server, const std::string& cause);
    void lose_peer_of(const MpiError& error);
    void require_job() const;
    int leave();
    bool wait_for_left(proc::StopMode mode);

    RelayPort& port_;
    const MpiOptions& options_;
    std::int64_t timeout_ns_;
    detail::Deadline launched_by_;
    std::optional<LaunchedJob> job_;
    Hello hello_;
    std::optional<Channel> channel_;
    std::deque<ServerState> servers_;
    std::vector<Held> held_; ///< by claim
    std::uint64_t sequence_ = 0;
    std::optional<RelayTask> waiting_; ///< the last claimed one, until a rank has room for it
    detail::Deadline waits_until_ = detail::Deadline::never(); ///< the deadline of that task
    std::int64_t now_ns_ = base::steady_now_ns();
    std::int64_t looked_ns_ = now_ns_;
    Pace pace_;
};

Root::Root(RelayPort& port, const MpiOptions& options, const SentPoolOptions& pool)
    : port_(port), options_(options), timeout_ns_(options.rank_timeout.value().value().count()),
      launched_by_(detail::Deadline::after(options.launch_timeout)),
      hello_{.version = PRONG_VERSION,
             .rank_timeout_ns = timeout_ns_,
             .modules = os::list_modules(),
             .pool = pool},
      held_(port.claims()) {}

/// Becomes rank 0 of a job.
void Root::join_job(bool launches) {
    const auto is_unwanted = [this, launches] { return launches && is_unwanted_yet(); };
    if (launches) job_.emplace(options_, launched_by_, is_unwanted);
    {
        port_.set_failure(
            "MPI_Init has failed, of which stderr has messages, or has not returned "
            "within MpiOptions::launch_timeout: is there a host that does not answer?");
        const TimeLimit limit(launched_by_, init_timed_out, is_unwanted);
        if (!begin_joining()) throw Hopeless("the program is exiting");
        channel_.emplace();
        static_cast<void>(channel_->servers_here());
        end_joining();
    }
    port_.set_failure("");
    if (channel_->rank() != 0)
        throw Hopeless("the pool's program must be rank 0 of its job, not rank " +
                       std::to_string(channel_->rank()));
    if (channel_->size() < 2)
        throw Hopeless(
            "the job has no rank that serves: start the program with more than one rank");
}

/// Returns whether the job is not needed any more, before it runs: all tasks may be cancelled.
bool Root::is_unwanted_yet() {
    // Passes over cancelled tasks. Another one waits for a rank.
    if (port_.stop_mode() != proc::StopMode::none && port_.held() == 0) {
        port_.claim([this](const RelayTask& task) {
            hold(task);
            return false;
        });
    }
    return is_unwanted_by(port_);
}

void Root::greet() {
    now_ns_ = base::steady_now_ns();
    for (int rank = 1; rank < channel_->size(); ++rank) {
        ServerState& server = servers_.emplace_back(*channel_, rank, now_ns_);
        server.out.add_value(EntryKind::hello, hello_);
        server.out.flush(now_ns_, true);
    }
}

int Root::run(bool launches) {
    join_job(launches);
    greet();
    while (!is_unwanted_by(port_)) {
        if (work())
            pace_.busy();
        else
            rest();
    }
    return leave();
}

/// Does all that can be done now. Returns whether there was anything to do.
bool Root::work() {
    now_ns_ = base::steady_now_ns();
    if (now_ns_ - looked_ns_ > timeout_ns_ / 16) check_servers();
    bool any = receive();
    any = forward_requests() || any;
    any = recall_tasks() || any;
    any = forward_tasks() || any;
    return any;
}

/// Waits for something to do; not for long if someone may wait for what a rank is about to send.
void Root::rest() {
    const bool has_backlog = std::ranges::all_of(servers_, &ServerState::has_backlog);
    if (!has_backlog && pace_.yield()) return;
    check_servers();
    std::chrono::nanoseconds nap = pace_.nap();
    if (has_backlog)
        nap = Pace::unhurried;
    else if (port_.held() == 0 && std::ranges::all_of(servers_, &ServerState::has_answered))
        nap = std::min<std::chrono::nanoseconds>(Pace::quiet,
                                                 std::chrono::nanoseconds(timeout_ns_ / 64));
    port_.nap(nap, !waiting_ && room() != 0);
}

bool Root::receive() {
    // Large results take a copy more than they must: the memory of a task that was taken from a
    // lost rank is another task's by the time at which MPI may still write into it.
    const auto nowhere = [](const Channel::Incoming&) { return std::span<std::byte>(); };
    try {
        return channel_->progress(
            nowhere, [&](const Channel::Incoming& incoming, std::span<std::byte> bytes) {
                ServerState& server = servers_.at(static_cast<std::size_t>(incoming.peer - 1));
                server.received_ns = now_ns_;
                try {
                    take(server, incoming.tag, bytes);
                } catch (const CodecError& error) {
                    lose(server, std::string("has sent what cannot be read: ") + error.what());
                }
            });
    } catch (const MpiError& error) {
        lose_peer_of(error);
        return true;
    }
}

void Root::take(ServerState& server, Tag tag, std::span<std::byte> bytes) {
    if (tag == Tag::entries)
        return read_entries(bytes, [&](const Entry& entry) { take(server, entry); });
    const std::span<std::byte> place = server.in.next(bytes.size());
    if (!place.empty()) std::memcpy(place.data(), bytes.data(), bytes.size());
    if (const auto large = server.in.arrived(bytes.size()))
        finish(server, large->head, large->place);
}

void Root::take(ServerState& server, const Entry& entry) {
    switch (entry.head.kind) {
    case EntryKind::welcome:
        return take_welcome(server, value_of<Welcome>(entry));
    case EntryKind::refusal:
        return take_refusal(server, value_of<Refusal>(entry));
    case EntryKind::end:
        return take_end(server, entry);
    case EntryKind::left:
        server.has_left = true;
        [[fallthrough]];
    case EntryKind::alive:
        return publish(server, value_of<std::vector<executor::ServedTasks::Worker>>(entry));
    default:
        throw CodecError("rank " + std::to_string(server.rank) + " has sent what only rank 0 does");
    }
}

void Root::publish(const ServerState& server,
                   const std::vector<executor::ServedTasks::Worker>& workers) {
    std::vector<executor::RelayWorker> published;
    for (const auto& [stats, task, is_running] : workers) {
        const bool is_known = is_running && find(server, task) != nullptr;
        published.push_back(
            {.stats = stats, .claim = is_known ? std::optional(claim_of(task)) : std::nullopt});
    }
    port_.publish(server.rank, server.host, published);
}

void Root::take_welcome(ServerState& server, const Welcome& welcome) {
    server.host = welcome.host;
    server.workers = std::max(1U, welcome.workers);
    server.window = server.workers;
    if (!welcome.warning.empty())
        os::write_to_stderr("prong: rank " + std::to_string(server.rank) + " on " + server.host +
                            " " + welcome.warning + "\n");
}

/// A rank that cannot serve from the beginning is a mistake in how the program was installed, or in
/// its initializer.
void Root::take_refusal(ServerState& server, const Refusal& refusal) {
    if (refusal.is_hopeless) {
        throw Hopeless("rank " + std::to_string(server.rank) + " on " + refusal.host +
                       " cannot serve: " + refusal.why);
    }
    server.is_broken = true;
    server.in.forget_places();
    give_up_tasks(server, "cannot serve any more: " + refusal.why);
}

/// Returns the task, if this rank has it.
Held* Root::find(const ServerState& server, std::uint64_t number) {
    Held& held = held_.at(claim_of(number));
    return held.number == number && held.server == &server ? &held : nullptr;
}

void Root::free(Held& held) {
    --held.server->held;
    held.server->held_bytes -= held.bytes;
    held = {};
}

void Root::take_end(ServerState& server, const Entry& entry) {
    const EntryHead& head = entry.head;
    if (!entry.head.is_large) return finish(server, head, entry.bytes);
    const bool is_known = find(server, head.number) != nullptr;
    server.in.expect(entry, is_known ? port_.reserve_end(claim_of(head.number), head.size)
                                     : std::span<std::byte>());
}

void Root::finish(ServerState& server, const EntryHead& head, std::span<const std::byte> bytes) {
    Held* const held = find(server, head.number);
    if (held == nullptr) return;
    const std::uint32_t claim = claim_of(head.number);
    free(*held);
    const auto state = static_cast<ring::TaskState>(head.state);
    if (state == ring::TaskState::cancelled) return port_.take_back(claim);
    server.count_end(now_ns_, head.count);
    const executor::TaskEnd end{.state = state, .bytes = bytes, .output_length = head.output};
    if (head.is_large && bytes.empty()) return port_.end_without_room(claim);
    const std::string cause = port_.end(claim, end, server.host, options_.pool.on_worker_death);
    if (!cause.empty()) throw Hopeless(cause);
}

/// Sends the program's requests on to the ranks that have the tasks.
bool Root::forward_requests() {
    bool any = false;
    for (const RelayPort::Request& request : port_.take_requests()) {
        Held& held = held_.at(request.claim);
        if (held.number == 0) continue; // has ended meanwhile
        any = true;
        if (held.server != nullptr) {
            held.server->out.add({.kind = request.is_kill ? EntryKind::kill : EntryKind::stop,
                                  .number = held.number},
                                 {});
        } else { // it waits
            waiting_.reset();
            held = {};
            port_.take_back(request.claim);
        }
    }
    return any;
}

std::size_t Root::room() const {
    std::size_t room = 0;
    for (const ServerState& server : servers_) room += server.room();
    return room;
}

/// Returns the rank that has the least work for each of its workers, among those with room for a
/// task with arguments of this size; null if there is none.
ServerState* Root::least_loaded(std::size_t bytes) {
    ServerState* best = nullptr;
    for (ServerState& server : servers_) {
        const bool fits =
            server.held < server.workers || server.held_bytes + bytes <= most_held_bytes;
        if (!fits || server.room() == 0) continue;
        if (best == nullptr || server.held * best->workers < best->held * server.workers)
            best = &server;
    }
    return best;
}

/// Notes a task that has just been claimed, and waits for a rank.
void Root::hold(const RelayTask& task) {
    waiting_ = task;
    waits_until_ = detail::Deadline::after(task.options ? task.options->deadline : std::nullopt);
    held_.at(task.claim) = {.number = ++sequence_ * held_.size() + task.claim,
                            .server = nullptr,
                            .bytes = task.arguments.size()};
}

/// Sends the task that waits, if a rank has room for it, or ends it if its deadline has passed.
/// Returns false if it still waits.
bool Root::send_waiting() {
    if (waits_until_.passed()) {
        const std::uint32_t claim = std::exchange(waiting_, std::nullopt)->claim;
        held_.at(claim) = {};
        port_.end(claim, {.state = ring::TaskState::expired, .bytes = {}});
        return true;
    }
    ServerState* const server = least_loaded(waiting_->arguments.size());
    if (server == nullptr) return false;
    send(*server);
    return true;
}

/// Asks ranks to give back, to the queue, what would wait there for too long. Returns whether there
/// were any.
bool Root::recall_tasks() {
    bool any = false;
    std::optional<bool> any_idle; // expensive
    for (ServerState& server : servers_) {
        const std::chrono::nanoseconds wait = server.expected_wait(now_ns_);
        const bool is_asked = now_ns_ - server.recalled_ns < wait_beside_idle.count();
        if (!server.serves() || wait < wait_beside_idle || is_asked) continue;
        if (!any_idle)
            any_idle =
                port_.has_idle_worker() || std::ranges::any_of(servers_, &ServerState::is_idle);
        if (!*any_idle && wait < longest_wait) continue;
        server.out.add({.kind = EntryKind::recall}, {});
        server.recalled_ns = now_ns_;
        server.window = server.workers;
        any = true;
    }
    return any;
}

/// Claims tasks and sends them. What no rank has room for is left in the queue, but for one task:
/// there it can be cancelled, and local workers can take it. Returns whether there were any.
bool Root::forward_tasks() {
    const bool any = waiting_ && send_waiting();
    const std::size_t most = waiting_ ? 0 : std::min(room(), sent_at_once);
    std::size_t count = 0;
    if (most != 0) {
        port_.claim([&](const RelayTask& task) {
            hold(task);
            return send_waiting() && ++count != most;
        });
    }
    flush(most == 0 || count != most);
    return any || count != 0;
}

/// Sends the task that waits.
void Root::send(ServerState& server) {
    RelayTask task = *std::exchange(waiting_, std::nullopt);
    if (!waits_until_.is_never())
        task.options->deadline = std::max(1ns, waits_until_.left(std::chrono::nanoseconds::max()));
    Held& held = held_.at(task.claim);
    held.server = &server;
    if (server.held++ == 0) server.throughput.resume(now_ns_);
    if (server.held == server.workers + 1) server.waits_ns = now_ns_;
    if (server.room() == 0) server.was_full = true;
    server.held_bytes += held.bytes;
    port_.assign(task.claim, server.rank);
    std::optional<SentOptions> options;
    if (task.options) options = sent(*task.options);
    server.out.add({.kind = EntryKind::task,
                    .count = task.attempt,
                    .number = held.number,
                    .type = reinterpret_cast<std::uint64_t>(task.type)},
                   task.arguments, options ? &*options : nullptr);
}

void Root::flush(bool is_last) {
    for (ServerState& server : servers_) {
        if (server.is_lost) continue;
        try {
            server.out.flush(now_ns_, is_last);
        } catch (const MpiError& error) {
            lose_peer_of(error);
        }
    }
}

void Root::require_job() const {
    if (!job_) return;
    const std::string end = job_->end();
    if (!end.empty()) throw Error("the ranks are lost: " + end);
}

/// Looks which ranks have fallen silent, and tells them that this process lives.
void Root::check_servers() {
    now_ns_ = base::steady_now_ns();
    if (now_ns_ - looked_ns_ < timeout_ns_ / 64) return;
    require_job();
    // If this process was stopped or starved, nothing was heard for that reason.
    const std::int64_t absent = now_ns_ - std::exchange(looked_ns_, now_ns_);
    const bool was_absent = absent > timeout_ns_ / 4;
    for (ServerState& server : servers_) {
        if (server.is_lost || server.has_left) continue;
        if (was_absent) server.received_ns = now_ns_;
        const bool has_answered = server.has_answered();
        const bool is_late = !has_answered && launched_by_.passed() && !was_absent;
        if (is_late || (has_answered && now_ns_ - server.received_ns > timeout_ns_)) {
            lose(server, is_late ? "has not answered within MpiOptions::launch_timeout"
                                 : "has not answered for MpiOptions::rank_timeout");
        } else if (has_answered && now_ns_ - server.sent_alive_ns > timeout_ns_ / 8) {
            server.sent_alive_ns = now_ns_;
            if (!server.out.is_congested()) server.out.add({.kind = EntryKind::alive}, {});
        }
    }
    flush(true);
}

/// Gives up a rank.
void Root::lose(ServerState& server, const std::string& cause) {
    server.is_lost = true;
    channel_->forget(server.rank);
    give_up_tasks(server, cause);
}

/// Takes its tasks from a rank that has just become lost or broken.
void Root::give_up_tasks(ServerState& server, const std::string& cause) {
    const std::string text = "rank " + std::to_string(server.rank) +
                             (server.host.empty() ? "" : " on " + server.host) + " " + cause;
    if (options_.on_rank_loss == OnRankLoss::break_pool) throw Error(text);
    for (std::size_t claim = 0; claim < held_.size(); ++claim) {
        if (held_[claim].server != &server) continue;
        held_[claim] = {};
        port_.lose(static_cast<std::uint32_t>(claim), server.host, cause);
    }
    port_.publish(server.rank, server.host, {});
    const bool any_left = std::ranges::any_of(
        servers_, [](const ServerState& other) { return !other.is_lost && !other.is_broken; });
    if (!any_left) throw Error("no rank is left: " + text);
}

/// Gives up the rank with which messages cannot be exchanged. Throws the error if it is no rank's.
void Root::lose_peer_of(const MpiError& error) {
    if (error.peer() == MpiError::no_peer) throw error;
    ServerState& server = servers_.at(static_cast<std::size_t>(error.peer() - 1));
    if (server.is_lost) return channel_->forget(server.rank); // what it has sent since
    lose(server, std::string("is out of reach: ") + error.what());
}

/// Returns whether all ranks have left that are not lost.
bool Root::wait_for_left(proc::StopMode mode) {
    const bool at_once = mode >= proc::StopMode::terminate;
    auto deadline = detail::Deadline::after(options_.rank_timeout);
    if (mode == proc::StopMode::kill) deadline = detail::Deadline::after(kill_patience);
    if (mode == proc::StopMode::terminate) deadline = detail::Deadline::after(terminate_patience);
    const auto has_gone = [](const ServerState& server) {
        return server.is_lost || server.has_left;
    };
    while (!std::ranges::all_of(servers_, has_gone)) {
        const bool is_killed = !at_once && port_.stop_mode() >= proc::StopMode::terminate;
        if (deadline.passed() || is_killed || port_.is_orphaned()) return false;
        require_job();
        now_ns_ = base::steady_now_ns();
        if (receive()) pace_.busy();
        flush(true);
        if (!pace_.yield()) port_.nap(pace_.nap(), false);
    }
    return true;
}

/// Ends the job.
int Root::leave() {
    if (port_.is_orphaned()) return 1;
    const proc::StopMode mode = std::max(port_.stop_mode(), proc::StopMode::drain);
    for (ServerState& server : servers_) {
        if (!server.is_lost) server.out.add_value(EntryKind::leave, Leave{.mode = mode});
    }
    bool have_left = false;
    try {
        have_left = wait_for_left(mode);
    } catch (const Error&) { // nothing is expected of the ranks any more
    }
    const bool none_lost =
        std::ranges::none_of(servers_, [](const ServerState& server) { return server.is_lost; });
    if (have_left && none_lost) {
        const TimeLimit limit(detail::Deadline::after(finish_patience), finish_timed_out);
        channel_->finish();
    }
    if (job_) job_->finish();
    return 0;
}

} // namespace

int run_root(RelayPort& port, const MpiOptions& options, const SentPoolOptions& pool,
             bool launches) {
    if (launches && is_unwanted_by(port)) return 0; // under `mpirun` the ranks wait to be told
    Root root(port, options, pool);
    try {
        return root.run(launches);
    } catch (const Hopeless& error) {
        // Now: when the launcher ends with `root`, Open MPI ends this process.
        port.give_up(error.what());
        throw;
    } catch (const std::exception& error) {
        port.set_failure(error.what());
        throw;
    }
}

} // namespace prong::mpi
