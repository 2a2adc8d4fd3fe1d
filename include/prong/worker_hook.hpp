#pragma once

#include <prong/detail/task.hpp>

#include <concepts>
#include <cstddef>
#include <functional>
#include <type_traits>
#include <utility>
#include <vector>

namespace prong {

namespace detail {
struct WorkerHookAccess;
}

/// A function that each worker of a pool calls, with arguments if it has any:
///
///     prong::PoolOptions{.initializer = {open_database, "tables.db", 4}}
///
/// Encodes a call with arguments at once, like `submit`, and throws what encoding throws. Each
/// worker decodes it anew. A function or lambda without arguments and captures is encoded as well.
///
/// Copies any other callable without arguments by the fork, so it may hold anything. With a zygote
/// (`start_zygote`), the pool's constructor throws `std::invalid_argument` for such a callable. Is
/// empty if made from nothing, `nullptr` or an empty `std::function`.
class WorkerHook {
    template <class F>
    static constexpr bool is_encoded =
        detail::FunctionPointer<F> || detail::Stateless<F> || detail::is_a<F, detail::WithCaptures>;

    template <class F>
    static constexpr bool is_callable = std::is_constructible_v<std::function<void()>, F> ||
                                        std::is_invocable_v<detail::StoredCallable<F>&>;

    template <class F>
    static constexpr bool fits = is_callable<F> && std::is_copy_constructible_v<F>;

public:
    /// Creates an empty hook.
    WorkerHook() noexcept = default;

    /// Keeps a copy of the callable, or encodes it if it has no state.
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, WorkerHook> && fits<std::decay_t<F>>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): hides neither copy nor move
    WorkerHook(F&& callable) {
        if constexpr (is_encoded<std::decay_t<F>>) {
            if constexpr (std::is_pointer_v<std::remove_cvref_t<F>>) {
                if (callable == nullptr) return;
            }
            encode(std::forward<F>(callable));
        } else {
            callable_ = std::forward<F>(callable);
        }
    }

    /// Encodes a function and its arguments.
    template <class F, class First, class... Rest>
    WorkerHook(F&& f, First&& first, Rest&&... rest) {
        encode(std::forward<F>(f), std::forward<First>(first), std::forward<Rest>(rest)...);
    }

    /// Rejected at compile time with an explanation.
    template <class F>
        requires(!std::same_as<std::remove_cvref_t<F>, WorkerHook> && !fits<std::decay_t<F>>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload)
    WorkerHook(F&&) {
        static_assert(std::is_copy_constructible_v<std::decay_t<F>>,
                      "prong: a hook of a pool (initializer, on_worker_start, on_worker_exit) must "
                      "be copyable: let it hold a std::shared_ptr in place of what can only be "
                      "moved");
        static_assert(fits<std::decay_t<F>> || !std::is_copy_constructible_v<std::decay_t<F>>,
                      "prong: a hook of a pool (initializer, on_worker_start, on_worker_exit) must "
                      "be callable without arguments, or be given them: {f, arguments...}");
    }

    /// Returns whether the hook has a function to call.
    explicit operator bool() const noexcept {
        return type_ != nullptr || static_cast<bool>(callable_);
    }

    /// Calls the function. A hook with arguments decodes them anew.
    void operator()() const {
        if (type_ == nullptr) return callable_();
        detail::Reader reader(encoded_);
        detail::BufferWriter no_result;
        type_->run(reader, no_result);
    }

private:
    friend struct detail::WorkerHookAccess;

    WorkerHook(const detail::TaskType& type, std::vector<std::byte> encoded)
        : type_(&type), encoded_(std::move(encoded)) {}

    template <class F, class... Args>
    void encode(F&& f, Args&&... args) {
        detail::BufferWriter writer;
        detail::encode_call(writer, std::forward<F>(f), std::forward<Args>(args)...);
        type_ = &detail::procedure_type<F, Args...>();
        encoded_.assign(writer.bytes().begin(), writer.bytes().end());
    }

    const detail::TaskType* type_ = nullptr;
    std::vector<std::byte> encoded_;
    std::function<void()> callable_;
};

namespace detail {

/// Passes a hook to another process.
struct WorkerHookAccess {
    /// Returns what runs `encoded()`; null if only a fork of this process can call the hook.
    static const TaskType* type(const WorkerHook& hook) noexcept { return hook.type_; }
    /// Returns the encoded call; empty for other hooks.
    static const std::vector<std::byte>& encoded(const WorkerHook& hook) noexcept {
        return hook.encoded_;
    }
    /// Returns the hook of which another process has returned `type` and `encoded`.
    static WorkerHook make(const TaskType& type, std::vector<std::byte> encoded) {
        return WorkerHook(type, std::move(encoded));
    }
};

} // namespace detail

} // namespace prong
