#pragma once

#include <prong/detail/encoding.hpp>

#include <type_traits>
#include <utility>

/// \file
/// Decides for every type whether it can be encoded; if not, says why.

namespace prong::detail {

/// Why a type cannot be encoded.
enum class Obstacle {
    none,
    reference,
    pointer,
    view,
    reference_wrapper,
    function,
    iterator,
    closure,
    bit_reference,
    one_way,
    inherited_serialization,
    shape,
    no_default_constructor,
    immovable,
    unknown,
};

/// Is the serialization of `T` made of private members, which are for `cereal::access` only?
template <class T>
concept PrivatelySerialized =
    (cereal::traits::has_member_serialize<T, DecodeArchive>::value &&
     !requires(T& value, DecodeArchive& archive) { value.serialize(archive); }) ||
    (cereal::traits::has_member_load<T, DecodeArchive>::value &&
     !requires(T& value, DecodeArchive& archive) { value.load(archive); });

/// Can a `T` be made to load into? Whether a private constructor is open to `cereal::access` cannot
/// be asked; but if the serialization is, take the constructor to be so too.
template <class T>
concept Makeable = std::is_default_constructible_v<T> || PrivatelySerialized<T>;

template <class T, class... Within>
consteval Obstacle obstacle_to();

/// The first obstacle to one of the types.
template <class... Within, class... Ts>
consteval Obstacle obstacle_to_any(Types<Ts...>) {
    Obstacle first = Obstacle::none;
    const bool found =
        ((first = obstacle_to<std::remove_cv_t<Ts>, Within...>(), first != Obstacle::none) || ...);
    return found ? first : Obstacle::none;
}

template <class T, std::size_t... Index>
auto member_types(std::index_sequence<Index...>) -> Types<MemberType<T, Index>...>;

/// Is every one of the types either encoded by bytes or default constructible?
template <class... Ts>
consteval bool are_default_constructible(Types<Ts...>) {
    return (std::is_default_constructible_v<std::remove_cv_t<Ts>> && ...);
}

/// Why `T` cannot be encoded and decoded; `Within` are the aggregates that it was found in.
template <class T, class... Within>
consteval Obstacle obstacle_to() {
    if constexpr (std::is_reference_v<T>) {
        return Obstacle::reference;
    } else if constexpr (ObjectPointer<T>) {
        return Obstacle::pointer;
    } else if constexpr (std::is_array_v<T>) {
        return std::extent_v<T> == 0 ? Obstacle::unknown
                                     : obstacle_to<std::remove_all_extents_t<T>, Within...>();
    } else if constexpr (Bitwise<T> || Contiguous<T>) {
        return Obstacle::none;
    } else if constexpr ((std::same_as<T, Within> || ...)) {
        return Obstacle::none; // a type that contains itself by a container or a smart pointer
    } else if constexpr (is_a<T, std::reference_wrapper>) {
        return Obstacle::reference_wrapper;
    } else if constexpr (is_a<T, std::function>) {
        return Obstacle::function;
    } else if constexpr (std::same_as<T, std::vector<bool>::reference>) {
        return Obstacle::bit_reference;
    } else if constexpr (SmartPointer<T>) {
        using Pointee = std::remove_cv_t<typename T::element_type>;
        if constexpr (std::is_polymorphic_v<Pointee>) {
            return Obstacle::none; // known when it runs: see CEREAL_REGISTER_TYPE
        } else if constexpr (is_array_pointer<T>) {
            return Obstacle::unknown;
        } else {
            constexpr Obstacle inside = obstacle_to<Pointee, Within..., void>();
            return inside == Obstacle::immovable ? Obstacle::none : inside;
        }
    } else if constexpr (StandardType<T>) {
        constexpr typename ElementsOf<T>::type elements{};
        constexpr Obstacle inside = obstacle_to_any<T, Within...>(elements);
        if constexpr (inside != Obstacle::none) {
            return inside;
        } else if constexpr (!std::is_move_constructible_v<T>) {
            return Obstacle::immovable;
        } else if constexpr (is_a<T, std::optional> || is_a<T, std::variant> ||
                             requires { typename T::key_type; }) {
            return Obstacle::none;
        } else if constexpr (!are_default_constructible(elements)) {
            return Obstacle::no_default_constructor;
        } else {
            return Obstacle::none;
        }
    } else if constexpr (std::same_as<T, std::filesystem::path>) {
        return Obstacle::none;
    } else if constexpr (has_serialization<T>) {
        if constexpr (!has_complete_serialization<T>) {
            return Obstacle::one_way;
        } else if constexpr (InheritsSerialization<T>) {
            return Obstacle::inherited_serialization;
        } else if constexpr (!std::is_abstract_v<T> && !std::is_move_constructible_v<T>) {
            return Obstacle::immovable;
        } else if constexpr (sizeof...(Within) == 0 && !Makeable<T>) {
            return Obstacle::no_default_constructor;
        } else {
            return Obstacle::none;
        }
    } else if constexpr (ViewOfOthers<T>) {
        return Obstacle::view;
    } else if constexpr (Closure<T>) {
        return Obstacle::closure;
    } else if constexpr (std::input_or_output_iterator<T>) {
        return Obstacle::iterator;
    } else if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T>) {
        return Obstacle::unknown;
    } else if constexpr (!Reflectable<T>) {
        return Obstacle::shape;
    } else {
        using Members = decltype(member_types<T>(std::make_index_sequence<member_count<T>>{}));
        constexpr Obstacle inside = obstacle_to_any<T, Within...>(Members{});
        if constexpr (inside != Obstacle::none) {
            return inside;
        } else if constexpr (!std::is_default_constructible_v<T>) {
            return Obstacle::no_default_constructor;
        } else if constexpr (!std::is_move_constructible_v<T>) {
            return Obstacle::immovable;
        } else {
            return Obstacle::none;
        }
    }
}

/// Compiles only if `T` can be encoded and decoded; else the compiler says why not. For a value
/// inside another, which is not decoded by itself, `Within` is `void`.
template <class T, class... Within>
consteval bool require_transferable() {
    constexpr Obstacle obstacle = obstacle_to<T, Within...>();
    static_assert(obstacle != Obstacle::reference,
                  "prong: a reference cannot cross to another process: pass the object by value");
    static_assert(obstacle != Obstacle::pointer,
                  "prong: a raw pointer cannot cross to another process: pass the object itself, "
                  "or a std::string, a std::vector, a std::unique_ptr, or a std::span<const T> "
                  "parameter");
    static_assert(obstacle != Obstacle::view,
                  "prong: a view cannot cross to another process inside a value or as a result: "
                  "use a std::string, a std::vector or another container that owns its elements");
    static_assert(obstacle != Obstacle::reference_wrapper,
                  "prong: a std::reference_wrapper (std::ref) cannot cross to another process: "
                  "pass the object by value and return what has changed");
    static_assert(obstacle != Obstacle::function,
                  "prong: a std::function cannot cross to another process: pass a function, a "
                  "captureless lambda or a function object");
    static_assert(obstacle != Obstacle::iterator,
                  "prong: an iterator cannot cross to another process: pass the container");
    static_assert(obstacle != Obstacle::closure,
                  "prong: a lambda with captures cannot cross to another process as it is: pass "
                  "what it captures as arguments, or mark it by prong::with_captures(lambda) if "
                  "it captures neither pointers nor references");
    static_assert(obstacle != Obstacle::bit_reference,
                  "prong: an element of a std::vector<bool> refers to the vector: pass "
                  "static_cast<bool>(element)");
    static_assert(obstacle != Obstacle::one_way,
                  "prong: cereal can only save or only load this type, or finds more than one way "
                  "to: give it one serialize function, or one pair of save and load (see "
                  "CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES)");
    static_assert(obstacle != Obstacle::inherited_serialization,
                  "prong: this type would be encoded by the serialization of its base class and "
                  "lose its own members: give it a serialize function of its own (with "
                  "CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES)");
    static_assert(obstacle != Obstacle::shape,
                  "prong: an aggregate with a base class, a C array or too many members cannot be "
                  "taken apart: use std::array, or give it a serialize function");
    static_assert(obstacle != Obstacle::no_default_constructor,
                  "prong: a type that is decoded member by member needs a default constructor (a "
                  "private one will do if its serialization is private as well, with 'friend class "
                  "cereal::access')");
    static_assert(obstacle != Obstacle::immovable,
                  "prong: a type that can be neither copied nor moved cannot cross to another "
                  "process by value: hold it by a std::unique_ptr");
    static_assert(obstacle != Obstacle::unknown,
                  "prong: this type cannot cross to another process: it is neither trivially "
                  "copyable nor an aggregate and has no serialize function for cereal");
    return obstacle == Obstacle::none;
}

} // namespace prong::detail
