#pragma once

#include <prong/codec.hpp>
#include <prong/detail/task_handle.hpp>
#include <prong/error.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

namespace prong {
namespace detail {

/// Where the elements of an encoded `R` lie, if it is encoded in one piece.
template <class R>
struct ElementsInPlace {
    static constexpr bool exist = false;
    using Element = std::byte;
    static EncodedElements<Element> locate(Reader&) { return {}; }
};
template <Contiguous R>
struct ElementsInPlace<R> {
    static constexpr bool exist = true;
    using Element = typename R::value_type;
    static EncodedElements<Element> locate(Reader& reader) {
        return view_elements<Element>(reader);
    }
};
template <class T, std::size_t Size>
    requires Bitwise<std::array<T, Size>>
struct ElementsInPlace<std::array<T, Size>> {
    static constexpr bool exist = true;
    using Element = T;
    static EncodedElements<Element> locate(Reader& reader) {
        return {reader.view(sizeof(std::array<T, Size>)), Size};
    }
};

/// Compiles only if there is a view of an `R`; else the compiler says why not.
template <class R>
consteval bool require_viewable() {
    using Elements = ElementsInPlace<R>;
    constexpr bool is_aligned = alignof(typename Elements::Element) <= wire_alignment;
    constexpr bool is_bool = is_all_bool<typename Elements::Element>();
    static_assert(Elements::exist,
                  "prong: view() needs a result whose elements lie in one piece as they are in "
                  "memory: a std::vector, std::basic_string, std::valarray or std::array of "
                  "arithmetic types or plain structs; take this result by get()");
    static_assert(is_aligned, "prong: view() needs elements that are aligned to at most 16 bytes: "
                              "take this result by get()");
    static_assert(!is_bool,
                  "prong: view() cannot show bool elements, because a worker that corrupts memory "
                  "may write other bytes than 0 and 1: take this result by get()");
    return Elements::exist && is_aligned && !is_bool;
}

} // namespace detail

/// Elements of a task's result, read where the worker wrote them; returned by `Future::view`.
///
/// `R` is a `std::vector`, `std::basic_string`, `std::valarray` or `std::array` of types that are
/// encoded as they lie in memory. The view is a contiguous range of constant elements and converts
/// to `std::span<const T>`, that of a string to `std::string_view`. Spans and iterators dangle once
/// it is destroyed.
///
/// Is moved, not copied. Owns the result's memory in the pool until it is destroyed, also after the
/// executor is destroyed or the pool has broken. A view that was default-constructed or moved from
/// is empty.
///
/// Thread safety: any number of threads may read one view; one thread at a time moves or destroys
/// it.
///
/// Process safety: a worker that corrupts shared memory may change elements, but neither their
/// number nor their place, which are checked once. In a process forked later the view is an inert
/// copy: its destructor does nothing, `data`, `begin`, `end` and conversions throw
/// `std::logic_error`, and elements must not be read, because they are not mapped there.
template <typename R>
class ResultView {
    using Elements = detail::ElementsInPlace<R>;
    using T = typename Elements::Element;

public:
    using value_type = T;          ///< an element
    using size_type = std::size_t; ///< a number of elements
    using reference = const T&;    ///< refers to an element
    using iterator = const T*;     ///< points to an element

    /// Creates an empty view.
    ResultView() noexcept = default;
    /// Takes over the result of `other`, which is empty then.
    ResultView(ResultView&& other) noexcept { swap(other); }
    /// Frees the result of this view, and takes over that of `other`, which is empty then.
    ResultView& operator=(ResultView&& other) noexcept {
        ResultView(std::move(other)).swap(*this);
        return *this;
    }
    /// Frees the result.
    ~ResultView() {
        if (task_.valid()) task_.release();
    }

    /// Returns the number of elements.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    /// Returns whether there are none.
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    /// Returns where the first element lies, or null for an empty view without a result.
    [[nodiscard]] const T* data() const {
        if (task_.valid()) task_.require_valid();
        return elements_;
    }
    /// Returns an element, without any check.
    [[nodiscard]] const T& operator[](std::size_t index) const noexcept { return elements_[index]; }
    /// Returns the position of the first element.
    [[nodiscard]] const T* begin() const { return data(); }
    /// Returns the position behind the last element.
    [[nodiscard]] const T* end() const { return data() + size_; }

    /// Converts the view of a string to `std::string_view` or its like.
    template <typename Character, typename Traits>
        requires detail::is_a<R, std::basic_string> &&
                 std::same_as<typename R::value_type, Character>
    operator std::basic_string_view<Character, Traits>() const {
        return {data(), size_};
    }

private:
    friend class Future<R>;

    /// The view of a task that has ended.
    static ResultView of(detail::TaskHandle task) {
        if constexpr (detail::require_viewable<R>()) {
            return ResultView(std::move(task));
        } else {
            std::terminate(); // so that the refusal is all that the compiler says
        }
    }

    explicit ResultView(detail::TaskHandle task) : task_(std::move(task)) {
        detail::Outcome outcome = task_.outcome();
        if (outcome.error) std::rethrow_exception(outcome.error);
        const detail::EncodedElements<T> elements = Elements::locate(outcome.result);
        if (!elements.is_aligned())
            throw CodecError("the elements of a result are not aligned: a worker has corrupted it");
        elements_ = elements.objects();
        size_ = elements.count;
    }

    void swap(ResultView& other) noexcept {
        std::swap(task_, other.task_);
        std::swap(elements_, other.elements_);
        std::swap(size_, other.size_);
    }

    detail::TaskHandle task_;
    const T* elements_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace prong
