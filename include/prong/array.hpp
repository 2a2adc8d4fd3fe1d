#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/shareable.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/lock.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <ranges>
#include <span>
#include <type_traits>

/// \file
/// Arrays that processes share.

namespace prong {
namespace detail {

/// What Arrays of all types have in common: zeroed memory.
class PRONG_API BasicArray {
public:
    /// Returns whether both refer to the same array.
    friend bool operator==(const BasicArray& a, const BasicArray& b) noexcept {
        return a.object_ == b.object_;
    }

protected:
    struct Ids {
        ObjectId array;
        ObjectId lock;
    };

    BasicArray(std::size_t elements, std::size_t element_bytes)
        : object_(ObjectKind::array, product(elements, element_bytes)), elements_(elements) {
        initialise(element_bytes);
    }
    BasicArray(Ids ids, std::size_t element_bytes);
    [[nodiscard]] Ids ids() const {
        return {.array = object_.id(), .lock = HandleAccess::parts(lock_)};
    }

    void require() const { object_.require(); }
    /// Also throws `std::out_of_range`.
    void require(std::size_t index) const;
    /// Without a check.
    [[nodiscard]] void* memory() const noexcept { return memory_; }
    [[nodiscard]] std::size_t elements() const noexcept { return elements_; }
    [[nodiscard]] RLock& lock() const noexcept { return lock_; }

private:
    /// Returns the largest number if the product is larger: there is no room for so much.
    static std::size_t product(std::size_t elements, std::size_t element_bytes) noexcept;
    void initialise(std::size_t element_bytes);

    mutable RLock lock_;
    ObjectHandle object_;
    void* memory_ = nullptr;
    std::size_t elements_ = 0;
};

} // namespace detail

/// An array of fixed size that processes share. Copies are handles to the same array, as of a
/// `Lock`. `T` is trivially copyable and has no pointers in it. The array is a contiguous range and
/// converts to `std::span<T>`, also if it is const: constness is that of the handle.
///
///     const prong::Array<double> squares(4);
///     squares[2] = 4;
///     const std::span<double> last = std::span<double>(squares).last(2);
///
/// The memory costs only what is touched. Elements are ordinary memory: where one process writes
/// and another one reads or writes the same element, use the lock, or `std::atomic_ref`.
///
/// Lifetime: `data`, `begin` and so the conversion to `std::span` throw `ObjectGone` if the array
/// has ended. References, iterators and spans dangle once it ends, and so does `operator[]`: other
/// objects may lie in the memory then.
///
/// Thread safety: any number of threads may use one object at once, but not while it is assigned to
/// or destroyed.
///
/// Process safety: a process may be killed at any instruction. Elements that it was writing may be
/// half changed; `get_lock().abandoned()` is true if it held the lock.
template <typename T>
class Array : public detail::BasicArray {
    static_assert(detail::require_shareable<T>());

public:
    using value_type = T;          ///< an element
    using size_type = std::size_t; ///< a number of elements
    using reference = T&;          ///< refers to an element
    using iterator = T*;           ///< points to an element

    /// Creates an array of `size` elements that are `T{}`, which this object owns. *Throws* `Error`
    /// if there is no room.
    explicit Array(std::size_t size)
        requires std::default_initializable<T>
        : BasicArray(size, sizeof(T)) {
        if constexpr (!std::is_trivially_default_constructible_v<T>) { // else it is zero
            using Bytes = std::array<std::byte, sizeof(T)>;
            if (const T element{}; std::bit_cast<Bytes>(element) != Bytes{}) fill(element);
        }
    }
    /// Creates an array of `size` copies of an element. *Throws* `Error` if there is no room.
    Array(std::size_t size, const T& element) : BasicArray(size, sizeof(T)) { fill(element); }
    /// Creates an array of these elements. *Throws* `Error` if there is no room.
    Array(std::initializer_list<T> elements)
        : Array(std::span(elements.begin(), elements.size())) {}
    /// Creates an array of the elements of a range. *Throws* `Error` if there is no room.
    template <std::ranges::forward_range R>
        requires std::convertible_to<std::ranges::range_reference_t<R>, T> &&
                 (!std::same_as<std::remove_cvref_t<R>, Array>)
    // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): hides neither copy nor move
    explicit Array(R&& range)
        : BasicArray(static_cast<std::size_t>(std::ranges::distance(range)), sizeof(T)) {
        std::ranges::copy(range, first());
    }

    /// Returns the number of elements.
    [[nodiscard]] std::size_t size() const noexcept { return elements(); }
    /// Returns whether there are none.
    [[nodiscard]] bool empty() const noexcept { return elements() == 0; }

    /// Returns an element, without any check.
    [[nodiscard]] T& operator[](std::size_t index) const noexcept { return first()[index]; }
    /// Returns an element. *Throws* `std::out_of_range`; `ObjectGone` if the array has ended.
    [[nodiscard]] T& at(std::size_t index) const {
        require(index);
        return first()[index];
    }
    /// Returns the first element's address; null if there is none. *Throws* `ObjectGone` if the
    /// array has ended.
    [[nodiscard]] T* data() const {
        require();
        return first();
    }
    /// Returns the same as `data()`.
    [[nodiscard]] T* begin() const { return data(); }
    /// Returns the end of the elements.
    [[nodiscard]] T* end() const noexcept { return first() + elements(); }

    /// Returns the array's lock. Only processes that use it wait for each other.
    [[nodiscard]] RLock& get_lock() const noexcept { return lock(); }

private:
    friend struct detail::HandleAccess;
    using Parts = Ids;
    template <std::same_as<Parts> P> // not from braces
    explicit Array(P parts) : BasicArray(parts, sizeof(T)) {}
    [[nodiscard]] Parts parts() const { return ids(); }

    [[nodiscard]] T* first() const noexcept { return static_cast<T*>(memory()); }
    void fill(const T& element) const { std::fill_n(first(), size(), element); }
};

} // namespace prong
