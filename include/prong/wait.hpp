#pragma once

/// \file
/// `wait`: for several futures, or for futures, connections, processes and descriptors together.

#include <prong/detail/export.hpp>
#include <prong/detail/print.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/future.hpp>
#include <prong/fwd.hpp>
#include <prong/timeout.hpp>

#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <ranges>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <variant>
#include <vector>

namespace prong {

/// Condition on which `wait` returns.
enum class ReturnWhen {
    first_completed, ///< a task has ended or was cancelled
    first_exception, ///< a task has ended with an exception, or all have ended
    all_completed,   ///< all tasks have ended
};

/// Returns the enumerator's name; streams print it too.
PRONG_API std::string_view to_string(ReturnWhen condition);

/// Positions in the range or tuple that `wait` was given, ascending.
struct WaitResult {
    /// Futures whose tasks have ended.
    std::vector<std::size_t> done;
    /// All others.
    std::vector<std::size_t> not_done;
};

namespace detail {

PRONG_API WaitResult wait_for_tasks(std::span<const TaskHandle* const> tasks, ReturnWhen when,
                                    const Timeout& timeout);

} // namespace detail

/// Blocks until futures of one or several pools have ended as `when` says, at most `timeout` (0:
/// does not block). Returns the positions of ended and other futures; neither takes results nor
/// throws `TimeoutError`. Returns at once for an empty range. *Default:* all, no timeout. *Throws*
/// `std::logic_error` for a future that is not valid.
///
/// For futures of several types use `wait({a, b})`, `wait(std::tie(a, b))`, or a range of
/// `AnyFuture`. With a timeout name the condition, too: `wait({a, b}, ReturnWhen::all_completed,
/// 2s)`. `wait({a, b}, 2s)` waits for any `Waitable`, below.
// The default is what a braced list becomes.
template <FutureRange Range = std::initializer_list<AnyFuture>>
WaitResult wait(Range&& futures, ReturnWhen when = ReturnWhen::all_completed,
                Timeout timeout = std::nullopt) {
    std::vector<const detail::TaskHandle*> tasks;
    if constexpr (std::ranges::sized_range<Range>) tasks.reserve(std::ranges::size(futures));
    for (auto&& future : futures) tasks.push_back(&detail::FutureAccess::task(future));
    return detail::wait_for_tasks(tasks, when, timeout);
}
/// Like the above, for a tuple of references: `wait(std::tie(a, b))`.
template <typename... Futures>
    requires(detail::is_future<std::remove_const_t<Futures>> && ...)
WaitResult wait(const std::tuple<Futures&...>& futures, ReturnWhen when = ReturnWhen::all_completed,
                Timeout timeout = std::nullopt) {
    return std::apply(
        [&](const auto&... future) {
            const std::array<const detail::TaskHandle*, sizeof...(future)> tasks{
                &detail::FutureAccess::task(future)...};
            return detail::wait_for_tasks(tasks, when, timeout);
        },
        futures);
}

/// Something to wait for: the end of a task, a message on a connection, the end of a process, or a
/// descriptor of the program that becomes readable. Implicitly constructible from each of them.
class PRONG_API Waitable {
public:
    /// Throws `std::logic_error` if the connection is closed or only sends.
    Waitable(const Connection& connection);
    /// Ready when `accept_for(0s)` has something to do. *Throws* `std::logic_error` if the listener
    /// is closed.
    Waitable(const Listener& listener);
    /// *Throws* `std::logic_error` if the process has not been started, or is not a child of this
    /// process.
    Waitable(const Process& process);
    /// *Throws* `std::invalid_argument` for a negative descriptor.
    Waitable(int fd);
    /// *Throws* `std::logic_error` if the future is not valid, or this process is not its pool's.
    template <typename R>
    Waitable(const Future<R>& future) : Waitable(detail::FutureAccess::task(future)) {}
    /// *Throws* like the above.
    Waitable(const AnyFuture& future) : Waitable(detail::FutureAccess::task(future)) {}

    /// Returns the descriptor that becomes readable; -1 for a future, which has none.
    [[nodiscard]] int fd() const noexcept { return fd_; }

private:
    friend PRONG_API std::vector<std::size_t> wait(std::span<const Waitable> items,
                                                   Timeout timeout);
    explicit Waitable(const detail::TaskHandle& task);

    int fd_;
    const detail::TaskHandle* task_ = nullptr;
};

namespace detail {

/// A braced list of items to wait for. A class, so that a list of futures alone is rather taken for
/// a list of `AnyFuture`.
struct WaitableList {
    WaitableList(std::initializer_list<Waitable> list) : items(list.begin(), list.size()) {}
    std::span<const Waitable> items;
};

} // namespace detail

/// Blocks until at least one of `items` is ready: a task has ended, a connection has a message or
/// has lost its peer, a listener has a client, a process has ended, a descriptor is readable.
/// Returns the positions of all ready items, ascending; empty on timeout. *Default:* no timeout;
/// returns at once if `items` is empty. Zero polls. Signals do not end the wait. *Throws*
/// `std::system_error` for a descriptor that is not open.
///
/// Thread safety: any thread; all items must stay open meanwhile.
PRONG_API std::vector<std::size_t> wait(std::span<const Waitable> items,
                                        Timeout timeout = std::nullopt);

/// Like the above: `prong::wait({future, process, connection}, 2s)`. A list of futures alone is one
/// of this kind only with a timeout.
inline std::vector<std::size_t> wait(detail::WaitableList items, Timeout timeout = std::nullopt) {
    return wait(items.items, timeout);
}
/// Like the above: `prong::wait({})` returns at once.
inline std::vector<std::size_t> wait(std::initializer_list<std::monostate>,
                                     Timeout = std::nullopt) {
    return {};
}

} // namespace prong
