#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/shareable.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/lock.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <type_traits>
#include <utility>

/// \file
/// Values that processes share.

namespace prong {
namespace detail {

/// What Values of all types have in common: bytes that change as a whole.
class PRONG_API BasicValue {
public:
    /// Returns whether both refer to the same value.
    friend bool operator==(const BasicValue&, const BasicValue&) = default;

protected:
    struct Ids {
        ObjectId value;
        ObjectId lock;
    };
    /// Says which of the object's values was read: two with the same version have the same bytes.
    using Version = std::uint64_t;

    explicit BasicValue(std::span<const std::byte> initial)
        : object_(ObjectKind::value, further_bytes(initial.size())) {
        initialise(initial);
    }
    BasicValue(Ids ids, std::uint64_t bytes);
    [[nodiscard]] Ids ids() const {
        return {.value = object_.id(), .lock = HandleAccess::parts(lock_)};
    }

    /// Copies the value to `to`, never half of it.
    Version read(std::span<std::byte> to) const;
    void write(std::span<const std::byte> from) const;
    /// Changes the value if its version is still `before`. The caller holds the lock. Returns
    /// whether it was changed.
    [[nodiscard]] bool replace(Version before, std::span<const std::byte> from) const;

    [[nodiscard]] RLock& lock() const noexcept { return lock_; }

private:
    static std::uint64_t further_bytes(std::uint64_t bytes) noexcept;
    void initialise(std::span<const std::byte> initial) const;

    mutable RLock lock_;
    ObjectHandle object_;
};

} // namespace detail

/// A value that processes share. Copies are handles to the same value, as of a `Lock`. `T` is
/// trivially copyable and has no pointers in it.
///
///     const prong::Value<int> counter(0);
///     counter.update([](int n) { return n + 1; });
///
/// Two steps are atomic only if no process changes the value between them. So
/// `counter.set(counter.get() + 1)` loses counts, unless each process holds the lock meanwhile:
///
///     const std::scoped_lock guard(counter.get_lock());
///     counter.set(counter.get() + 1);
///
/// Blocking: `update`, and `set` if `T` is larger than 8 bytes, wait for the lock. `get` never
/// waits for another process.
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: a process may be killed at any instruction. Others then see the value as it was
/// before the change or after it, never a part of the change. `get_lock().abandoned()` is true if
/// the process has died while it held the lock, also within a member of the value.
template <typename T>
class Value : public detail::BasicValue {
    static_assert(detail::require_shareable<T>());

public:
    using value_type = T; ///< the value

    /// Creates a value that is `T{}`, which this object owns. *Throws* `Error` if there is no room.
    Value()
        requires std::default_initializable<T>
        : Value(T{}) {}
    /// Creates a value, which this object owns. *Throws* `Error` if there is no room.
    explicit Value(const T& initial) : BasicValue(bytes_of(initial)) {}

    /// Returns the value. *Throws* `ObjectGone` if it has ended.
    [[nodiscard]] T get() const {
        Bytes bytes;
        read(bytes);
        return std::bit_cast<T>(bytes);
    }
    /// Changes the value. *Throws* `ObjectGone` if it has ended.
    void set(const T& value) const { write(bytes_of(value)); }

    /// Changes the value depending on what it is: `f` takes the value and returns the new one, or
    /// takes a `T&` and changes it. Returns the new value. No other change comes between: the lock
    /// is held while `f` runs, and `f` is called again if a `set` came between nevertheless. `f`
    /// must not change this value in another way. *Throws* what `f` throws, with the value
    /// unchanged; `ObjectGone` if the value has ended.
    template <typename F>
        requires std::invocable<F&, T&>
    T update(F f) const {
        const std::scoped_lock guard(lock());
        for (;;) {
            Bytes bytes;
            const Version before = read(bytes);
            T value = std::bit_cast<T>(bytes);
            if constexpr (returns_new_value<F>()) {
                value = static_cast<T>(std::invoke(f, T(value)));
            } else {
                std::invoke(f, value);
            }
            if (replace(before, bytes_of(value))) return value;
        }
    }

    /// Returns the value's lock, for changes in several steps. A thread may hold it and call any
    /// member.
    [[nodiscard]] RLock& get_lock() const noexcept { return lock(); }

private:
    friend struct detail::HandleAccess;
    using Parts = Ids;
    template <std::same_as<Parts> P> // not from braces
    explicit Value(P parts) : BasicValue(parts, sizeof(T)) {}
    [[nodiscard]] Parts parts() const { return ids(); }

    using Bytes = std::array<std::byte, sizeof(T)>;
    static std::span<const std::byte> bytes_of(const T& value) {
        return std::as_bytes(std::span(&value, 1));
    }
    /// Says of a function that takes no `T&`, but a `T`, that it returns the new value.
    template <typename F>
    static consteval bool returns_new_value() {
        if constexpr (std::invocable<F&, T>) {
            return !std::is_void_v<std::invoke_result_t<F&, T>>;
        } else {
            return false;
        }
    }
};

} // namespace prong
