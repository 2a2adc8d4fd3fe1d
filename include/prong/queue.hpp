#pragma once

#include <prong/codec.hpp>
#include <prong/detail/async_members.hpp>
#include <prong/detail/deadline.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/queue_watch.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/error.hpp>
#include <prong/timeout.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

/// \file
/// Queues between processes.

namespace prong {

/// How often an item of a `JoinableQueue` was delivered.
struct Delivery {
    int count = 0; ///< 1 at the first time; more if consumers died before `task_done`
};

namespace detail {

class ItemWriter;

/// A queue of encoded items.
class PRONG_API ItemQueue {
public:
    /// An item that was taken. The bytes are in the queue until `finish`.
    struct Item {
        std::uint64_t position;
        std::span<const std::byte> bytes;
        int deliveries;
    };

    explicit ItemQueue(std::int64_t max_size)
        : object_(ObjectKind::queue, further_bytes(max_size)) {
        initialise(max_size);
    }
    explicit ItemQueue(ObjectId id);

    // The caller of the next six has a `Pin`: from the construction of the `ItemWriter`, and from
    // `take` to `keep` or `finish`.

    /// Returns whether `put` would not block.
    [[nodiscard]] bool has_room() const;
    /// Returns whether `take` would neither block nor return nothing.
    [[nodiscard]] bool has_item() const;
    /// Appends an item. Returns false at the deadline.
    bool put(ItemWriter& item, Deadline deadline) const;
    /// Takes the first item that no living process has taken. Returns nothing at the deadline.
    std::optional<Item> take(Deadline deadline) const;
    /// Leaves an item that this process has taken to `finish_first`.
    void keep(const Item& item) const noexcept;
    /// Removes an item that this process has taken.
    void finish(const Item& item) const noexcept;
    /// Removes the first item that this process has kept. Throws `std::logic_error` if there is
    /// none.
    void finish_first() const;
    /// Waits until all items are finished. Returns false at the deadline.
    bool join(Deadline deadline) const;
    void close() const;

    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] std::int64_t max_size() const;
    [[nodiscard]] ObjectId id() const { return object_.id(); }
    /// Returns the word that counts changes; null if the queue has ended.
    [[nodiscard]] std::atomic<std::uint32_t>* find_changes(QueueChange change) const noexcept;

    friend bool operator==(const ItemQueue& a, const ItemQueue& b) noexcept {
        return a.object_ == b.object_;
    }

private:
    friend class ItemWriter;
    static std::uint64_t further_bytes(std::int64_t max_size);
    void initialise(std::int64_t max_size);
    void find_memory();

    ObjectHandle object_;
    std::byte* memory_ = nullptr; ///< behind the object's cell
    std::uint64_t capacity_ = 0;  ///< places of the ring
};

/// Encodes an item in the memory where consumers find it. Frees that memory if the item is not put.
class PRONG_API ItemWriter final : public Writer {
public:
    explicit ItemWriter(const ItemQueue& queue);
    ~ItemWriter();

    Pledges& pledges() override;

private:
    friend class ItemQueue;
    void grow(std::size_t more) override;
    void release() noexcept;

    const ItemQueue& queue_;
    std::uint64_t block_ = 0; ///< 0: nothing was written
    std::unique_ptr<Pledges> pledges_;
};

/// Finishes an item when it was decoded, or cannot be.
class ItemGuard {
public:
    ItemGuard(const ItemQueue& queue, const ItemQueue::Item& item) : queue_(queue), item_(item) {}
    ~ItemGuard() { queue_.finish(item_); }
    ItemGuard(const ItemGuard&) = delete;
    ItemGuard& operator=(const ItemGuard&) = delete;

private:
    const ItemQueue& queue_;
    const ItemQueue::Item& item_;
};

/// What all queues have in common.
template <Transferable T>
class BasicQueue {
public:
    /// What `put` takes: an rvalue if it is, or holds, a `SharedBuffer`, which moves to the
    /// consumer.
    using Value = std::conditional_t<holds_parcels<T, true>(), T&&, const T&>;

    /// Appends a value. Blocks while the queue is full. *Throws* what encoding throws;
    /// `QueueClosed` after `close()`; `ObjectGone` if the queue has ended; `Error` if there is no
    /// room for the value. Nothing is appended then.
    void put(Value value) const { static_cast<void>(put(value, Deadline::never())); }
    /// Appends a value if the queue is not full, without blocking. Returns whether it did.
    [[nodiscard]] bool try_put(Value value) const { return put(value, Deadline::now()); }
    /// Like `put`, but blocks at most `timeout`. Returns whether the value was appended.
    [[nodiscard]] bool put_for(Timeout timeout, Value value) const {
        return put(value, Deadline::after(timeout));
    }

    /// The same for a `SharedBuffer` that is not moved: the compiler refuses it.
    void put(const T& value) const
        requires(holds_parcels<T, true>())
    {
        static_cast<void>(try_put(value));
    }
    [[nodiscard]] bool try_put(const T& value) const
        requires(holds_parcels<T, true>())
    {
        return put_for(std::nullopt, value);
    }
    [[nodiscard]] bool put_for(Timeout, const T&) const
        requires(holds_parcels<T, true>())
    {
        return require_passed_on<const T&>();
    }

    /// Appends a value in an event loop: `async_put([executor,] value, [token])`, with
    /// `<prong/asio.hpp>`. Waits while the queue is full. The handler gets `(std::exception_ptr)`,
    /// of what `put` throws. *Default:* the handler's executor; `use_awaitable`. An operation that
    /// was cancelled (`operation_aborted`), or whose context ends, has put nothing.
    template <typename... Args>
    auto async_put(Args&&... args) const {
        return detail::DefinedInProngAsioHpp<BasicQueue, Args...>().async_put(
            *this, std::forward<Args>(args)...);
    }

    /// Returns the number of items that wait in the queue, at one instant during the call. Of a
    /// queue that is never at rest meanwhile it is an estimate. Takes longer with each item. So do
    /// `empty` and `full`.
    [[nodiscard]] std::size_t size() const { return items_.size(); }
    /// Returns whether no item waits.
    [[nodiscard]] bool empty() const { return size() == 0; }
    /// Returns whether `put` would block.
    [[nodiscard]] bool full() const {
        return items_.max_size() != 0 && size() >= static_cast<std::size_t>(items_.max_size());
    }

    /// Makes `put` throw `QueueClosed` from now on. `get` returns what is left, and throws
    /// `EndOfFile` after that. May be repeated.
    void close() const { items_.close(); }

    /// Returns whether both refer to the same queue.
    friend bool operator==(const BasicQueue&, const BasicQueue&) = default;

protected:
    template <typename, typename...>
    friend struct DefinedInProngAsioHpp;

    explicit BasicQueue(std::int64_t max_size) : items_(max_size) {}
    explicit BasicQueue(ObjectId id) : items_(id) {}

    [[nodiscard]] const ItemQueue& items() const { return items_; }

    static T decode_item(const ItemQueue::Item& item) {
        Reader reader(item.bytes);
        return detail::decode<T>(reader);
    }

private:
    bool put(const T& value, Deadline deadline) const {
        const Pin pin;
        if (deadline.passed() && !items_.has_room()) return false;
        ItemWriter item(items_);
        detail::encode(item, value);
        return items_.put(item, deadline);
    }

    ItemQueue items_;
};

} // namespace detail

/// A first-in, first-out queue between any number of producers and consumers, threads and
/// processes. Copies are handles to the same queue, as of a `Lock`. Items may have any size that
/// fits into shared memory.
///
/// An item whose consumer dies before `get` has returned is delivered to another one, and comes
/// late then. Otherwise items of one producer arrive in order. An item whose producer dies before
/// `put` has returned is delivered whole or not at all. A queue holds at most 1,048,576 items, less
/// where address space is limited; `put` then blocks as if that were `max_size`.
///
/// Blocking: waits use no CPU. If a process is killed while it wakes another, that one continues
/// within 20 ms.
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: like `Lock`. A consumer that is stopped within `get` holds up no other, until
/// the queue's ring, of at least 4096 places, is full behind it.
template <Transferable T>
class Queue : public detail::BasicQueue<T> {
    using Base = detail::BasicQueue<T>;

public:
    /// Creates an empty queue without `max_size`, which this object owns. *Throws* `Error` if there
    /// is no room.
    Queue() : Queue(0) {}
    /// Creates an empty queue, which this object owns; 0: no `max_size`. *Throws*
    /// `std::invalid_argument` for a negative size or more than 524,288; `Error` if there is no
    /// room.
    explicit Queue(std::int64_t max_size) : Base(max_size) {}

    /// Removes and returns the first item. Blocks while the queue is empty. *Throws* `EndOfFile` if
    /// the queue is closed and empty; `ObjectGone` if it has ended; `CodecError` for an item that
    /// cannot be decoded, which is removed.
    T get() const { return std::move(*get(detail::Deadline::never())); }
    /// Like `get`, without blocking. Returns nothing if the queue is empty.
    [[nodiscard]] std::optional<T> try_get() const { return get(detail::Deadline::now()); }
    /// Like `get`, but blocks at most `timeout`. Returns nothing if no item came.
    [[nodiscard]] std::optional<T> get_for(Timeout timeout) const {
        return get(detail::Deadline::after(timeout));
    }
    /// Removes the first item in an event loop: `async_get([executor,] [token])`, with
    /// `<prong/asio.hpp>`. The handler gets `(std::exception_ptr, T)`, or a
    /// `std::optional<T>` if `T` has no default constructor; the exception is what `get` throws.
    /// *Default:* the handler's executor; `use_awaitable`. Any number may be in progress. An
    /// operation that was cancelled (`operation_aborted`), or whose context ends, takes no item.
    /// While operations wait, this process has one thread more.
    template <typename... Args>
    auto async_get(Args&&... args) const {
        return detail::DefinedInProngAsioHpp<Queue, Args...>().async_get(
            *this, std::forward<Args>(args)...);
    }

private:
    friend struct detail::HandleAccess;
    using Parts = detail::ObjectId;
    explicit Queue(Parts id) : Base(id) {}
    [[nodiscard]] Parts parts() const { return this->items().id(); }

    std::optional<T> get(detail::Deadline deadline) const {
        const detail::Pin pin;
        const auto item = this->items().take(deadline);
        if (!item) return std::nullopt;
        const detail::ItemGuard guard(this->items(), *item);
        return Base::decode_item(*item);
    }
};

/// A `Queue` without the rest: `put`, `get`, `empty`, `close`.
template <Transferable T>
class SimpleQueue {
public:
    /// Creates an empty queue, which this object owns. *Throws* `Error` if there is no room.
    SimpleQueue() = default;

    /// Like `Queue::put`; blocks only if the queue holds 1,048,576 items.
    void put(typename Queue<T>::Value value) const {
        queue_.put(static_cast<typename Queue<T>::Value>(value));
    }
    /// Rejected at compile time: a `SharedBuffer` has to be moved.
    void put(const T& value) const
        requires(detail::holds_parcels<T, true>())
    {
        queue_.put(value);
    }
    /// Like `Queue::get`.
    T get() const { return queue_.get(); }
    /// Returns whether no item waits.
    [[nodiscard]] bool empty() const { return queue_.empty(); }
    /// Like `Queue::close`.
    void close() const { queue_.close(); }

    /// Returns whether both refer to the same queue.
    friend bool operator==(const SimpleQueue&, const SimpleQueue&) = default;

private:
    friend struct detail::HandleAccess;
    using Parts = detail::ObjectId;
    explicit SimpleQueue(Parts id) : queue_(detail::HandleAccess::make<Queue<T>>(id)) {}
    [[nodiscard]] Parts parts() const { return detail::HandleAccess::parts(queue_); }

    Queue<T> queue_;
};

/// A queue whose consumers say when they are done with an item: `join` waits until all are. An item
/// whose consumer dies before it has called `task_done` is delivered again.
///
/// Blocking, thread safety, process safety: like `Queue`.
template <Transferable T>
class JoinableQueue : public detail::BasicQueue<T> {
    using Base = detail::BasicQueue<T>;

public:
    /// Creates an empty queue, like `Queue`'s constructor.
    JoinableQueue() : JoinableQueue(0) {}
    /// Creates an empty queue, like `Queue`'s constructor.
    explicit JoinableQueue(std::int64_t max_size) : Base(max_size) {}

    /// Returns the first item. Blocks, and throws, like `Queue::get`.
    T get() const { return std::move(*get(detail::Deadline::never(), nullptr)); }
    /// Like `get`, and tells how often the item was delivered.
    T get(Delivery& delivery) const {
        return std::move(*get(detail::Deadline::never(), &delivery));
    }
    /// Like `get`, without blocking. Returns nothing if the queue is empty.
    [[nodiscard]] std::optional<T> try_get() const { return get(detail::Deadline::now(), nullptr); }
    /// Like `get`, but blocks at most `timeout`. Returns nothing if no item came.
    [[nodiscard]] std::optional<T> get_for(Timeout timeout) const {
        return get(detail::Deadline::after(timeout), nullptr);
    }
    /// Returns the first item in an event loop, like `Queue::async_get`.
    template <typename... Args>
    auto async_get(Args&&... args) const {
        return detail::DefinedInProngAsioHpp<JoinableQueue, Args...>().async_get(
            *this, std::forward<Args>(args)...);
    }

    /// Says that this process is done with an item: with the first of those that `get` has returned
    /// in it and that are not done. *Throws* `std::logic_error` if there is none.
    void task_done() const { this->items().finish_first(); }

    /// Blocks until the consumers are done with all items.
    void join() const { static_cast<void>(this->items().join(detail::Deadline::never())); }
    /// Like `join`, but blocks at most `timeout`. Returns whether all items are done.
    [[nodiscard]] bool join_for(Timeout timeout) const {
        return this->items().join(detail::Deadline::after(timeout));
    }

private:
    friend struct detail::HandleAccess;
    using Parts = detail::ObjectId;
    explicit JoinableQueue(Parts id) : Base(id) {}
    [[nodiscard]] Parts parts() const { return this->items().id(); }

    std::optional<T> get(detail::Deadline deadline, Delivery* delivery) const {
        const detail::Pin pin;
        const auto item = this->items().take(deadline);
        if (!item) return std::nullopt;
        if (delivery != nullptr) delivery->count = item->deliveries;
        try {
            std::optional<T> value = Base::decode_item(*item);
            this->items().keep(*item);
            return value;
        } catch (...) { // no consumer can be done with it
            this->items().finish(*item);
            throw;
        }
    }
};

} // namespace prong
