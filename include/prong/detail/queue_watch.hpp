#pragma once

#include <prong/detail/export.hpp>

#include <list>

namespace prong::detail {

class ItemQueue;
struct WatchedQueue;

/// What a queue is watched for.
enum class QueueChange : unsigned char {
    item, ///< an item can be taken, or none will ever come
    room, ///< an item can be put, or none may be put any more
};

/// A descriptor that becomes readable when a queue has changed. A thread of this process serves all
/// watches. It ends soon after the last of them.
///
/// Of several watches of one change, the first learns of it. A watch that ends passes the news on
/// to the next one.
///
/// Thread safety: any thread, one at a time. In a child of a fork, a copy is inert.
class PRONG_API QueueWatch {
public:
    /// Throws `std::system_error`.
    QueueWatch(const ItemQueue& queue, QueueChange change);
    QueueWatch(const QueueWatch&) = delete;
    QueueWatch& operator=(const QueueWatch&) = delete;
    ~QueueWatch();

    /// Returns a copy of the descriptor, which the caller owns. Throws `std::system_error`.
    [[nodiscard]] int copy_descriptor() const;
    /// Makes the descriptor unreadable; called before the caller looks at the queue.
    void clear() noexcept;

private:
    friend struct WatchedQueue;
    void notify() noexcept;

    int event_;
    unsigned home_;            ///< `os::fork_depth()` of the process of the watch
    bool has_news_ = false;    ///< it was notified
    bool is_readable_ = false; ///< it was notified after the last `clear`
    WatchedQueue* watched_ = nullptr;
    std::list<QueueWatch*>::iterator place_; ///< among the watches of the change
};

} // namespace prong::detail
