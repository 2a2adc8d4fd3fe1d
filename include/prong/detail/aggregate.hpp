#pragma once

#include <boost/pfr/core.hpp>

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

/// \file
/// What can be learnt about an aggregate class without its help: how many members it has, of what
/// types, and whether Boost.PFR can take it apart.

namespace prong::detail {

/// More members than this are not looked at; Boost.PFR takes apart no more than about so many.
inline constexpr std::size_t max_members = 100;

/// Stands for a value of any type in an unevaluated `T{...}`.
struct AnyMember {
    template <class Member>
    operator Member() const&& noexcept;
};

/// Stands for a value of any proper base class of `T`.
template <class T>
struct AnyBase {
    template <class Base>
        requires(std::is_base_of_v<Base, T> && !std::same_as<Base, T>)
    operator Base() const&& noexcept;
};

template <std::size_t>
using AnyMemberAt = AnyMember;

/// Can `T` be made from `Count` values of any type, followed by `Rest`?
template <class T, std::size_t Count, class... Rest>
inline constexpr bool takes_members = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return requires { T{AnyMemberAt<Index>{}..., Rest{}...}; };
}(std::make_index_sequence<Count>{});

/// Has `T` a member after the first `Count` ones, as counted by `T{...}`?
template <class T, std::size_t Count>
inline constexpr bool has_member_after =
    takes_members<T, Count + 1> || []<std::size_t... Index>(std::index_sequence<Index...>) {
        return requires { T{AnyMemberAt<Index>{}..., {}}; };
    }(std::make_index_sequence<Count>{});

/// How many values `T{...}` takes at most. The elements of a C array count one by one, because C++
/// lets the inner braces be left out; `has_array_member` tells. It may take no fewer than some
/// number, if a member has no default constructor.
template <class T, std::size_t Count = 0, bool Takes = takes_members<T, Count>>
consteval std::size_t count_members() {
    if constexpr (Count == max_members) {
        return Takes ? Count : 0;
    } else {
        constexpr bool takes_more = takes_members<T, Count + 1>;
        if constexpr (Takes && !takes_more)
            return Count;
        else
            return count_members<T, Count + 1, takes_more>();
    }
}

template <class T>
inline constexpr std::size_t member_count = count_members<T>();

/// Is the member of the aggregate `T` after the first `Before` ones a C array? There `{}` stands
/// for several values at once, so that fewer follow it than follow any single value. A member that
/// `{}` does not make is none.
template <class T, std::size_t Before>
inline constexpr bool is_array_after = []<std::size_t... Index>(std::index_sequence<Index...>) {
    constexpr std::size_t after = member_count<T> - Before - 1;
    constexpr auto takes = []<std::size_t... After>(std::index_sequence<After...>) {
        return requires { T{AnyMemberAt<Index>{}..., {}, AnyMemberAt<After>{}...}; };
    };
    if constexpr (takes(std::make_index_sequence<after>{})) {
        return false;
    } else {
        return [takes]<std::size_t... Fewer>(std::index_sequence<Fewer...>) {
            return (takes(std::make_index_sequence<Fewer>{}) || ...);
        }(std::make_index_sequence<after>{});
    }
}(std::make_index_sequence<Before>{});

/// Is one of the members a C array?
template <class T>
inline constexpr bool has_array_member = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (is_array_after<T, Index> || ...);
}(std::make_index_sequence<member_count<T>>{});

/// Has the aggregate `T` a base class?
template <class T>
inline constexpr bool has_base = requires { T{AnyBase<T>{}}; };

/// Can Boost.PFR take `T` apart? Bit-fields cannot be told from members: they are an error there.
template <class T>
concept Reflectable = std::is_class_v<T> && std::is_aggregate_v<T> && !has_base<T> &&
                      (member_count<T> > 0 || std::is_empty_v<T>)&&member_count<T> < max_members &&
                      !has_member_after<T, member_count<T>> && !has_array_member<T>;

/// Calls `visit(member)` for each member of `value`, in order.
// The number of members is handed to PFR rather than asked from it: PFR counts by copying, which
// is a hard error for aggregates with members that can only be moved.
template <Reflectable T, class Visit>
void for_each_member(T& value, Visit&& visit) {
    [&]<std::size_t... Index>(std::index_sequence<Index...>) {
        constexpr boost::pfr::detail::size_t_<member_count<T>> count{};
        auto members = boost::pfr::detail::tie_as_tuple(value, count);
        (visit(boost::pfr::detail::sequence_tuple::get<Index>(members)), ...);
    }(std::make_index_sequence<member_count<T>>{});
}

/// The member at `Index` of the reflectable `T`.
template <std::size_t Index, Reflectable T>
constexpr auto& member_at(T& value) {
    constexpr boost::pfr::detail::size_t_<member_count<T>> count{};
    return boost::pfr::detail::sequence_tuple::get<Index>(
        boost::pfr::detail::tie_as_tuple(value, count));
}

/// Its type, with `const` if it has one. (That it is a reference is not seen, but `is_reference`.)
template <class T, std::size_t Index>
using MemberType = std::remove_reference_t<decltype(member_at<Index>(std::declval<T&>()))>;

} // namespace prong::detail
