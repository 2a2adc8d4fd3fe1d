#include "mpi/wire.hpp"

#include <prong/error.hpp>

#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

namespace prong::mpi {
namespace {

std::int64_t number(const Timeout& timeout) {
    return timeout.value() ? timeout.value()->count() : -1;
}

std::int64_t number(const std::optional<std::size_t>& size) {
    constexpr std::size_t most = std::numeric_limits<std::int64_t>::max();
    return size ? static_cast<std::int64_t>(std::min(*size, most)) : -1;
}

Timeout to_timeout(std::int64_t number) {
    if (number < 0) return std::nullopt;
    return std::chrono::nanoseconds(number);
}

std::optional<std::size_t> to_size(std::int64_t number) {
    if (number < 0) return std::nullopt;
    return static_cast<std::size_t>(number);
}

SentHook sent(const WorkerHook& hook, const std::string& name) {
    if (!hook) return {};
    const detail::TaskType* const type = detail::WorkerHookAccess::type(hook);
    if (type == nullptr) {
        throw std::invalid_argument("MpiOptions::pool." + name +
                                    " must be a function or a lambda without captures, with its "
                                    "arguments beside it ({f, arguments...}), because it runs on "
                                    "other machines");
    }
    return {.type = reinterpret_cast<std::uint64_t>(type),
            .bytes = detail::WorkerHookAccess::encoded(hook)};
}

} // namespace

SentOptions sent(const TaskOptions& options) {
    return {.timeout = number(options.timeout),
            .deadline = number(options.deadline),
            .grace = number(options.grace),
            .cpu = number(options.limits.cpu_time),
            .memory = number(options.limits.memory_bytes),
            .address_space = number(options.limits.address_space_bytes),
            .file = number(options.limits.max_file_bytes),
            .capture_output = options.capture_output,
            .capture_stack = options.capture_stack};
}

TaskOptions received(const SentOptions& options) {
    return {.timeout = to_timeout(options.timeout),
            .deadline = to_timeout(options.deadline),
            .grace = to_timeout(options.grace),
            .limits = {.memory_bytes = to_size(options.memory),
                       .address_space_bytes = to_size(options.address_space),
                       .cpu_time = to_timeout(options.cpu),
                       .max_file_bytes = to_size(options.file)},
            .capture_output = options.capture_output,
            .capture_stack = options.capture_stack};
}

SentPoolOptions sent(const PoolOptions& options, const std::optional<int>& workers) {
    return {.workers = workers.value_or(-1),
            .max_nesting = number(options.max_nesting),
            .max_tasks_per_worker = number(options.max_tasks_per_worker),
            .max_worker_rss_bytes = number(options.max_worker_rss_bytes),
            .start_timeout = number(options.start_timeout),
            .limits = sent(TaskOptions{.limits = options.limits}),
            .initializer = sent(options.initializer, "initializer"),
            .on_worker_start = sent(options.on_worker_start, "on_worker_start"),
            .on_worker_exit = sent(options.on_worker_exit, "on_worker_exit")};
}

PoolOptions received(const SentPoolOptions& options) {
    return {.inherit = Inherit::standard_only,
            .max_nesting = to_size(options.max_nesting),
            .limits = received(options.limits).limits,
            .max_tasks_per_worker = to_size(options.max_tasks_per_worker),
            .max_worker_rss_bytes = to_size(options.max_worker_rss_bytes),
            .start_timeout = to_timeout(options.start_timeout)};
}

void Batch::append(const void* data, std::size_t size) {
    const auto* const begin = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
}

void Batch::add(const EntryHead& head, std::span<const std::byte> bytes,
                const SentOptions* options) {
    append(&head, sizeof(head));
    if (options != nullptr) append(options, sizeof(*options));
    append(bytes.data(), bytes.size());
    ++entries_;
}

std::vector<std::byte> Batch::take() {
    entries_ = 0;
    return std::exchange(bytes_, {});
}

void read_entries(std::span<std::byte> message, const std::function<void(const Entry&)>& use) {
    detail::Reader reader(message);
    while (reader.remaining() != 0) {
        Entry entry{};
        reader.read(&entry.head, sizeof(entry.head));
        if (entry.head.kind > EntryKind::last)
            throw CodecError("an MPI message has an entry of an unknown kind");
        if (entry.head.has_options) reader.read(&entry.options.emplace(), sizeof(SentOptions));
        if (!entry.head.is_large) {
            const std::size_t begin = message.size() - reader.remaining();
            reader.view(entry.head.size); // checks
            entry.bytes = message.subspan(begin, entry.head.size);
        }
        use(entry);
    }
}

} // namespace prong::mpi
