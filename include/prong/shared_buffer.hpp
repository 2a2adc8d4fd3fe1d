#pragma once

#include <prong/codec.hpp>
#include <prong/detail/parcel.hpp>
#include <prong/detail/shareable.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

/// \file
/// Large data that passes between processes without a copy.

namespace prong {

template <typename T>
class SharedView;

/// An array in memory that the program shares with everything forked from it. It has one owner at a
/// time. Passed to a task, returned from one, or sent, it moves to the other process without a
/// copy:
///
///     prong::SharedBuffer<float> image(width * height);
///     prong::Future<prong::SharedBuffer<float>> future = pool.submit(blur, std::move(image));
///     image = future.get();
///
/// `T` is trivially copyable and has no pointers in it. A task function takes the buffer by value,
/// by `SharedBuffer<T>&&` or `const SharedBuffer<T>&`, or as a `std::span<const T>`. The buffer may
/// lie within containers, pairs and aggregates, as a task's argument or result, in the messages of
/// a `Connection` and in the items of a `Queue`. `submit`, `submit_batch`, `map`, `send` and `put`
/// take it as an rvalue only. If they throw, or `try_submit` returns no future, the caller keeps
/// it, unless it was a temporary.
///
/// A buffer that was passed on is empty, like one that was moved from, or that has no elements.
/// After `fork` the child's copy of a buffer is empty. A direct argument of a `Process` is the
/// exception: it belongs to the child from `Process::start` on.
///
/// Only a buffer in the task's result comes back. Any other is freed as the task ends, at the
/// latest when `get` has returned or thrown, or the future is destroyed. To keep a buffer that
/// tasks only read, pass `share()`.
///
/// A task that is tried again (`TaskOptions::max_retries`) gets the buffer as the dead attempt has
/// left it, perhaps half changed; if that has passed the buffer on, decoding throws `ObjectGone`.
/// Buffers of such tasks keep their memory until the result is taken or the future is destroyed.
///
/// Thread safety: one thread at a time; any number that only call const members.
///
/// Process safety: if a process dies, the memory of its buffers is freed once no view of them is
/// left, at the latest when a process makes the next buffer or a pool notices the death.
template <typename T>
class SharedBuffer {
    static_assert(detail::require_shareable<T>());
    static_assert(alignof(T) <= 512);

public:
    using value_type = T;          ///< an element
    using size_type = std::size_t; ///< a number of elements
    using reference = T&;          ///< refers to an element
    using iterator = T*;           ///< points to an element

    /// Creates an empty buffer.
    SharedBuffer() noexcept = default;
    /// Creates a buffer of `size` elements, which this object owns. The contents are arbitrary, as
    /// of memory that `std::make_unique_for_overwrite` returns. The elements are aligned to 512
    /// bytes or more. *Throws* `LimitExceeded` (`LimitKind::shared_memory`) if the machine has too
    /// little memory for a buffer of 64 MiB or more, and `Error` if the memory that all processes
    /// of the program share has no room.
    explicit SharedBuffer(size_type size)
        : bytes_(detail::SharedBytes::make(size, sizeof(T))), first_(first()) {}
    /// Creates a buffer of `size` copies of an element. *Throws* like the constructor above.
    SharedBuffer(size_type size, const T& element) : SharedBuffer(size) {
        std::fill_n(first_, size, element);
    }
    /// Takes over the buffer; `other` is empty afterwards.
    SharedBuffer(SharedBuffer&& other) noexcept = default;
    /// Frees this buffer's memory, and takes over the other's.
    SharedBuffer& operator=(SharedBuffer&& other) noexcept {
        SharedBuffer taken(std::move(other));
        std::swap(bytes_, taken.bytes_);
        std::swap(first_, taken.first_);
        return *this;
    }
    /// Frees the memory as soon as no view is left, unless the buffer was passed on.
    ~SharedBuffer() = default;

    /// Returns the number of elements.
    [[nodiscard]] size_type size() const noexcept { return bytes_.bytes() / sizeof(T); }
    /// Returns whether there are none.
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    /// Returns the first element's address; null if there is none.
    [[nodiscard]] T* data() noexcept { return empty() ? nullptr : first_; }
    /// Returns the first element's address; null if there is none.
    [[nodiscard]] const T* data() const noexcept { return empty() ? nullptr : first_; }
    /// Returns an element, without any check. The behaviour is undefined if the buffer is empty:
    /// its former place may belong to another process.
    [[nodiscard]] T& operator[](size_type index) noexcept { return first_[index]; }
    /// Returns an element, without any check.
    [[nodiscard]] const T& operator[](size_type index) const noexcept { return first_[index]; }
    /// Returns the same as `data()`.
    [[nodiscard]] T* begin() noexcept { return data(); }
    /// Returns the same as `data()`.
    [[nodiscard]] const T* begin() const noexcept { return data(); }
    /// Returns the end of the elements.
    [[nodiscard]] T* end() noexcept { return data() + size(); }
    /// Returns the end of the elements.
    [[nodiscard]] const T* end() const noexcept { return data() + size(); }

    /// Returns a view of the elements, which lives on when the buffer is passed on or destroyed.
    /// The owner may still write to the elements; a process that reads them at the same time then
    /// has a data race. *Throws* `Error` if the family's memory has no room.
    [[nodiscard]] SharedView<T> share() const { return SharedView<T>(bytes_.refer()); }

private:
    friend struct detail::HandleAccess;
    friend void prong_keep_end(SharedBuffer& buffer) noexcept { buffer.bytes_.parcel.adopt(); }
    friend void prong_give_away(SharedBuffer& buffer, int child) noexcept {
        buffer.bytes_.parcel.give_away(child);
    }

    using Parts = detail::ParcelId;
    template <std::same_as<Parts> P> // not from braces
    explicit SharedBuffer(P parts)
        : bytes_(detail::SharedBytes::claim(detail::ObjectKind::buffer, parts, sizeof(T))),
          first_(first()) {}
    [[nodiscard]] Parts parts(detail::Writer& writer) const { return bytes_.parcel.pledge(writer); }
    static constexpr bool is_moved_by_encoding = true;

    [[nodiscard]] T* first() const noexcept { return reinterpret_cast<T*>(bytes_.data); }

    detail::SharedBytes bytes_;
    T* first_ = nullptr;
};

/// A read-only view of the elements of a `SharedBuffer`; made by `SharedBuffer::share`. Copies
/// refer to the same elements, and pass to tasks, results, messages and items like any value,
/// without a copy of the elements. The elements live as long as the buffer or any view of them, in
/// whatever process.
///
/// A copy of a view that a process has got by `fork` is empty, unless it is a direct argument of a
/// `Process`.
///
/// Thread safety: like `std::shared_ptr`. Process safety: like `SharedBuffer`.
template <typename T>
class SharedView {
    static_assert(detail::require_shareable<T>());

public:
    using value_type = T;            ///< an element
    using size_type = std::size_t;   ///< a number of elements
    using reference = const T&;      ///< refers to an element
    using iterator = const T*;       ///< points to an element
    using const_iterator = const T*; ///< points to an element

    /// Creates an empty view.
    SharedView() noexcept = default;

    /// Returns the number of elements.
    [[nodiscard]] size_type size() const noexcept {
        return bytes_ == nullptr ? 0 : bytes_->bytes() / sizeof(T);
    }
    /// Returns whether there are none.
    [[nodiscard]] bool empty() const noexcept { return size() == 0; }
    /// Returns the first element's address; null if there is none.
    [[nodiscard]] const T* data() const noexcept { return empty() ? nullptr : first_; }
    /// Returns an element, without any check.
    [[nodiscard]] const T& operator[](size_type index) const noexcept { return first_[index]; }
    /// Returns the same as `data()`.
    [[nodiscard]] const T* begin() const noexcept { return data(); }
    /// Returns the end of the elements.
    [[nodiscard]] const T* end() const noexcept { return data() + size(); }

private:
    friend class SharedBuffer<T>;
    friend struct detail::HandleAccess;
    // A reference of its own goes to the child: other copies share the present one.
    friend void prong_prepare_start(SharedView& view) {
        if (!view.empty()) view = SharedView(view.bytes_->refer());
    }
    friend void prong_keep_end(SharedView& view) noexcept {
        if (view.bytes_ != nullptr) view.bytes_->parcel.adopt();
    }
    friend void prong_give_away(SharedView& view, int child) noexcept {
        if (view.bytes_ != nullptr) view.bytes_->parcel.give_away(child);
    }

    explicit SharedView(detail::SharedBytes bytes)
        : bytes_(std::make_shared<detail::SharedBytes>(std::move(bytes))),
          first_(reinterpret_cast<const T*>(bytes_->data)) {}

    using Parts = detail::ParcelId;
    template <std::same_as<Parts> P> // not from braces
    explicit SharedView(P parts)
        : SharedView(detail::SharedBytes::claim(detail::ObjectKind::view, parts, sizeof(T))) {}
    [[nodiscard]] Parts parts(detail::Writer& writer) const {
        return bytes_ == nullptr ? Parts{} : bytes_->parcel.pledge_copy(writer);
    }
    static constexpr bool is_moved_by_encoding = false;

    std::shared_ptr<detail::SharedBytes> bytes_;
    const T* first_ = nullptr;
};

} // namespace prong
