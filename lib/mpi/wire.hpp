#pragma once

#include "os/modules.hpp"
#include "proc/stop_mode.hpp"

#include <prong/detail/wire.hpp>
#include <prong/pool_options.hpp>
#include <prong/task_options.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// What rank 0 and the others say to each other. A message with `Tag::entries` is a sequence of
/// entries; each has a head and, after it, bytes.
namespace prong::mpi {

enum class EntryKind : std::uint8_t {
    hello,   ///< first, from rank 0: `Hello`
    welcome, ///< the answer: `Welcome`
    refusal, ///< the other answer, or later: why this rank cannot serve, or not any more
    task,    ///< from rank 0: the arguments of a task
    stop,    ///< from rank 0: a task is asked to stop
    kill,    ///< from rank 0: a task is to be killed
    recall,  ///< from rank 0: all tasks that have not started are to be cancelled
    end,     ///< to rank 0: the result, exception or failure report of a task; or it was cancelled
    alive,   ///< both ways, at intervals; to rank 0: the state of each worker
    leave,   ///< last, from rank 0: `Leave`
    left,    ///< the answer: no more messages follow; the same
    last = left,
};

/// The head of an entry. Members that an entry does not need are 0.
struct EntryHead {
    EntryKind kind;
    std::uint8_t state = 0;   ///< end: a `ring::TaskState`
    bool is_large = false;    ///< the bytes follow in messages of their own (`Tag::piece`)
    bool has_options = false; ///< task: the bytes begin with `SentOptions`
    std::uint32_t count = 0;  ///< task: which attempt, from 1; end: how many tasks wait there
    std::uint64_t number = 0; ///< task, stop, kill, end: which task; never used twice
    std::uint64_t type = 0;   ///< task: the address of its `TaskType` at rank 0
    std::uint64_t output = 0; ///< end: how many of the bytes, at their end, are captured output
    std::uint64_t size = 0;   ///< of the bytes, without `SentOptions`
};
static_assert(sizeof(EntryHead) == 40);

/// `TaskOptions`; durations in nanoseconds, bytes; negative: none.
struct SentOptions {
    std::int64_t timeout;
    std::int64_t deadline; ///< what was left of it when the relay sent the task
    std::int64_t grace;
    std::int64_t cpu;
    std::int64_t memory;
    std::int64_t address_space;
    std::int64_t file;
    bool capture_output;
    bool capture_stack;
};

SentOptions sent(const TaskOptions& options);
TaskOptions received(const SentOptions& options);

/// A hook as it travels.
struct SentHook {
    std::uint64_t type; ///< the address at rank 0; 0: no hook
    std::vector<std::byte> bytes;
};

/// `PoolOptions` for the pool of a rank, as far as they concern it.
struct SentPoolOptions {
    std::int64_t workers; ///< negative: as many as there are CPUs, shared by the ranks of a host
    std::int64_t max_nesting;
    std::int64_t max_tasks_per_worker;
    std::int64_t max_worker_rss_bytes;
    std::int64_t start_timeout;
    SentOptions limits;
    SentHook initializer;
    SentHook on_worker_start;
    SentHook on_worker_exit;
};

/// Throws `std::invalid_argument` for a hook that cannot travel.
SentPoolOptions sent(const PoolOptions& options, const std::optional<int>& workers);
/// Returns the options without workers and hooks.
PoolOptions received(const SentPoolOptions& options);

struct Hello {
    std::uint32_t version; ///< `PRONG_VERSION`
    std::int64_t rank_timeout_ns;
    std::vector<os::Module> modules; ///< of the program, as it has loaded them
    SentPoolOptions pool;
};

struct Welcome {
    std::string host;
    std::uint32_t workers;
    std::string warning; ///< in words, such as that it is bound to one CPU; usually empty
};

struct Refusal {
    std::string host;
    std::string why;
    bool is_hopeless; ///< it has never been able to serve, so another job would not do better
};

/// How a rank ends.
struct Leave {
    proc::StopMode mode; ///< `drain`: its workers have no task any more
};

/// Entries that are to be sent in one message.
class Batch {
public:
    void add(const EntryHead& head, std::span<const std::byte> bytes = {},
             const SentOptions* options = nullptr);

    /// Adds an entry whose bytes are an encoded value.
    template <class T>
    void add_value(EntryKind kind, const T& value);

    [[nodiscard]] std::size_t entries() const { return entries_; }
    [[nodiscard]] std::size_t size() const { return bytes_.size(); }
    [[nodiscard]] bool empty() const { return entries_ == 0; }

    /// Returns the message, and begins the next one.
    std::vector<std::byte> take();

private:
    void append(const void* data, std::size_t size);

    std::vector<std::byte> bytes_;
    std::size_t entries_ = 0;
};

/// An entry as it was received.
struct Entry {
    EntryHead head;
    std::optional<SentOptions> options;
    std::span<std::byte> bytes; ///< empty if they follow in pieces
};

/// Calls `use` for each entry of a message. Throws `CodecError` if it is no sequence of entries.
void read_entries(std::span<std::byte> message, const std::function<void(const Entry&)>& use);

/// Payloads above this size travel in pieces.
inline constexpr std::size_t largest_inline = 16 << 10;
/// How large a piece is, but for the last one.
inline constexpr std::size_t piece_size = 1 << 20;
/// How many pieces are sent to one peer at a time.
inline constexpr std::size_t most_pieces = 4;
/// A batch is sent when it has this many entries or bytes, or is older than 20 µs.
inline constexpr std::size_t most_entries = 512;
inline constexpr std::size_t most_batch_bytes = 64 << 10;

} // namespace prong::mpi

#include <prong/codec.hpp>

namespace prong::mpi {

template <class T>
void Batch::add_value(EntryKind kind, const T& value) {
    detail::BufferWriter writer;
    detail::encode(writer, value);
    add({.kind = kind, .size = writer.size()}, writer.bytes());
}

/// Decodes the bytes of an entry that `add_value` has added.
template <class T>
T value_of(const Entry& entry) {
    detail::Reader reader(std::span<const std::byte>(entry.bytes));
    return detail::decode<T>(reader);
}

} // namespace prong::mpi
