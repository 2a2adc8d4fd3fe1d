#pragma once

#include <prong/detail/completion_set.hpp>
#include <prong/detail/deadline.hpp>
#include <prong/error.hpp>
#include <prong/future.hpp>
#include <prong/timeout.hpp>

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_set>
#include <utility>
#include <vector>

namespace prong {

/// Range of futures in the order in which they end: `Future<T>&`, or `AnyFuture&` for several
/// types. Yields each future once; skips futures that were moved from or whose result was taken
/// meanwhile. The futures must stay in place; take results inside the loop. The timeout counts from
/// the call of `as_completed`. On expiry the next step throws `TimeoutError`. Thread safety: one
/// thread at a time.
template <typename Element>
class AsCompleted {
    using Place = std::conditional_t<std::same_as<Element, AnyFuture>, AnyFuture, Element*>;

public:
    /// Called by `as_completed`.
    explicit AsCompleted(std::vector<Place> places, detail::Deadline limit)
        : places_(std::move(places)), limit_(limit) {
        for (std::size_t i = 0; i < places_.size(); ++i)
            tasks_.add(detail::FutureAccess::task(at(i)), i);
    }

    /// Iterates once; `++` blocks until the next future ends.
    class Iterator {
    public:
        using iterator_concept = std::input_iterator_tag;
        using value_type = Element;
        using difference_type = std::ptrdiff_t;

        Iterator() = default;
        explicit Iterator(AsCompleted& owner) : owner_(&owner) {}

        Element& operator*() const { return owner_->current(); }
        Element* operator->() const { return &owner_->current(); }
        Iterator& operator++() {
            owner_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(std::default_sentinel_t) const { return owner_->at_end(); }

    private:
        AsCompleted* owner_ = nullptr;
    };

    /// Blocks until the first future has ended. *Throws* `TimeoutError`.
    Iterator begin() {
        if (!started_) collect();
        started_ = true;
        return Iterator(*this);
    }
    /// Reached after the last future.
    [[nodiscard]] std::default_sentinel_t end() const { return {}; }

private:
    [[nodiscard]] Element& at(std::size_t number) {
        if constexpr (std::is_pointer_v<Place>) {
            return *places_[number];
        } else {
            return places_[number];
        }
    }
    [[nodiscard]] Element& current() { return at(tasks_.ended()[next_]); }
    [[nodiscard]] bool at_end() const { return next_ == tasks_.ended().size(); }
    void advance() {
        do { // the loop's body may have taken more than the current one
            ++next_;
        } while (!at_end() && !current().valid());
        if (at_end()) collect();
    }

    /// Waits for what ends next, if anything does.
    void collect() {
        next_ = 0;
        if (!tasks_.wait(limit_) && tasks_.pending() != 0) {
            throw TimeoutError(std::to_string(tasks_.pending()) +
                               " futures had not ended in time; their tasks go on");
        }
    }

    std::vector<Place> places_;
    detail::CompletionSet tasks_;
    std::size_t next_ = 0; ///< in `tasks_.ended()`
    detail::Deadline limit_;
    bool started_ = false;
};

/// Returns the futures in the order in which they end; see `AsCompleted`. *Default:* no timeout.
/// *Throws* `std::logic_error` for a future that is not valid.
///
/// For futures of several types use `as_completed({a, b})`, `as_completed(std::tie(a, b))`, or a
/// range of `AnyFuture`.
// The default is what a braced list becomes.
template <FutureRange Range = std::initializer_list<AnyFuture>>
    requires std::is_lvalue_reference_v<Range> || std::ranges::borrowed_range<Range> ||
             std::same_as<std::ranges::range_value_t<Range>, AnyFuture>
auto as_completed(Range&& futures, Timeout timeout = std::nullopt) {
    using Reference = std::ranges::range_reference_t<Range>;
    constexpr bool is_view = std::same_as<std::remove_cvref_t<Reference>, AnyFuture>;
    using Element = std::conditional_t<is_view, AnyFuture, std::remove_reference_t<Reference>>;
    static_assert(!std::is_const_v<Element>, "prong: as_completed needs futures that can be taken");
    const detail::Deadline limit = detail::Deadline::after(timeout);
    std::vector<std::conditional_t<is_view, AnyFuture, Element*>> places;
    if constexpr (std::ranges::sized_range<Range>) places.reserve(std::ranges::size(futures));
    constexpr bool may_repeat = is_view || !std::ranges::contiguous_range<Range>;
    std::unordered_set<const detail::TaskHandle*> seen;
    for (auto&& future : futures) {
        if (may_repeat && !seen.insert(&detail::FutureAccess::task(future)).second) continue;
        if constexpr (is_view) {
            places.push_back(future);
        } else {
            places.push_back(&future);
        }
    }
    return AsCompleted<Element>(std::move(places), limit);
}
/// Like the above, for a tuple of references: `as_completed(std::tie(a, b))`.
template <typename... Futures>
    requires(detail::is_future<Futures> && ...)
AsCompleted<AnyFuture> as_completed(const std::tuple<Futures&...>& futures,
                                    Timeout timeout = std::nullopt) {
    return std::apply([&](auto&... future) { return as_completed({future...}, timeout); }, futures);
}

} // namespace prong
