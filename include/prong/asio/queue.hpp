#pragma once

#include <prong/asio/detail/attempts.hpp>
#include <prong/asio/detail/value.hpp>
#include <prong/detail/queue_watch.hpp>
#include <prong/queue.hpp>

#include <memory>

/// \file
/// Queues in the event loops of Asio: `async_get` and `async_put`.

namespace prong::detail {

/// An attempt to use a queue.
template <typename... Values>
class UseQueue : public ThrowingAttempt<Values...> {
public:
    UseQueue(const ItemQueue& items, QueueChange change) : items_(items), change_(change) {}

    int watch() {
        watch_ = std::make_unique<QueueWatch>(items_, change_);
        return watch_->copy_descriptor();
    }

protected:
    /// Called before each look at the queue.
    void begin() {
        if (watch_) watch_->clear();
    }

private:
    ItemQueue items_;
    QueueChange change_;
    std::unique_ptr<QueueWatch> watch_; ///< from the first attempt on that has failed
};

template <typename Queue, typename T>
class GetItem final : public UseQueue<async_value_t<T>> {
public:
    GetItem(const Queue& queue, const ItemQueue& items)
        : UseQueue<async_value_t<T>>(items, QueueChange::item), queue_(queue) {}

    auto attempt(Cancellable&) -> typename GetItem::Result {
        this->begin();
        std::optional<T> item = queue_.try_get();
        if (!item) return std::nullopt;
        return std::tuple<std::exception_ptr, async_value_t<T>>(nullptr, std::move(*item));
    }

private:
    Queue queue_;
};

template <typename T>
class PutItem final : public UseQueue<> {
public:
    PutItem(const BasicQueue<T>& queue, const ItemQueue& items, T value)
        : UseQueue(items, QueueChange::room), queue_(queue), value_(std::move(value)) {}

    Result attempt(Cancellable&) {
        begin();
        if (!queue_.try_put(static_cast<typename BasicQueue<T>::Value>(value_)))
            return std::nullopt;
        return std::exception_ptr();
    }

private:
    BasicQueue<T> queue_;
    T value_;
};

template <typename T, typename... Args>
struct DefinedInProngAsioHpp<BasicQueue<T>, Args...> {
    template <typename Value, typename... Rest>
        requires(!ExecutorOrContext<Value>)
    static auto async_put(const BasicQueue<T>& queue, Value&& value, Rest&&... rest) {
        if constexpr (require_passed_on<Value>()) {
            return start_attempts<void(std::exception_ptr)>(
                PutItem<T>(queue, queue.items(), std::forward<Value>(value)),
                std::forward<Rest>(rest)...);
        }
    }
    template <ExecutorOrContext Where, typename Value, typename... Rest>
    static auto async_put(const BasicQueue<T>& queue, Where&& where, Value&& value,
                          Rest&&... rest) {
        return async_put(queue, std::forward<Value>(value), where, std::forward<Rest>(rest)...);
    }

    template <typename Queue>
    static auto async_get(const Queue& queue, Args&&... args) {
        return start_attempts<void(std::exception_ptr, async_value_t<T>)>(
            GetItem<Queue, T>(queue, queue.items()), std::forward<Args>(args)...);
    }
};

template <typename T, typename... Args>
struct DefinedInProngAsioHpp<Queue<T>, Args...> : DefinedInProngAsioHpp<BasicQueue<T>, Args...> {};
template <typename T, typename... Args>
struct DefinedInProngAsioHpp<JoinableQueue<T>, Args...>
    : DefinedInProngAsioHpp<BasicQueue<T>, Args...> {};

} // namespace prong::detail
