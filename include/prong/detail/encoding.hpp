#pragma once

#include <prong/detail/aggregate.hpp>
#include <prong/detail/archive.hpp>
#include <prong/detail/standard_type.hpp>

#include <filesystem>
#include <functional>
#include <iterator>
#include <ranges>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>

/// \file
/// Decides for every type how it is encoded.

namespace prong::detail {

/// Wrappers that cereal passes around a value; never values of the user's.
template <class T>
concept CerealWrapper =
    is_a<T, cereal::NameValuePair> || is_a<T, cereal::SizeTag> || is_a<T, cereal::BinaryData> ||
    is_a<T, cereal::MapItem> || is_a<T, cereal::DeferredData> ||
    is_a<T, cereal::memory_detail::PtrWrapper> ||
    is_a<T, cereal::memory_detail::LoadAndConstructLoadWrapper> ||
    std::is_base_of_v<cereal::traits::detail::BaseCastBase, T>;

// ---- cereal -------------------------------------------------------------------------------------

/// Does cereal find a way to save or to load `T`? (It may still find too many, or only one of two.)
template <class T>
inline constexpr bool has_serialization =
    cereal::traits::detail::count_output_serializers<T, EncodeArchive>::value != 0 ||
    cereal::traits::detail::count_input_serializers<T, DecodeArchive>::value != 0;

/// Can cereal both save and load `T`?
template <class T>
inline constexpr bool has_complete_serialization =
    cereal::traits::is_output_serializable<T, EncodeArchive>::value &&
    cereal::traits::is_input_serializable<T, DecodeArchive>::value;

template <class Base, class Result, class... Args>
Base class_of(Result (Base::*)(Args...));
template <class Base, class Result, class... Args>
Base class_of(Result (Base::*)(Args...) const);

// A standard container that T derives from; cereal's overloads take T for it.
template <class... Args>
std::vector<Args...> container_of(const std::vector<Args...>&);
template <class... Args>
std::basic_string<Args...> container_of(const std::basic_string<Args...>&);
template <class... Args>
std::map<Args...> container_of(const std::map<Args...>&);
template <class... Args>
std::unordered_map<Args...> container_of(const std::unordered_map<Args...>&);
template <class... Args>
std::set<Args...> container_of(const std::set<Args...>&);
template <class... Args>
std::deque<Args...> container_of(const std::deque<Args...>&);
template <class... Args>
std::list<Args...> container_of(const std::list<Args...>&);

template <class T, class Base>
concept LargerThan = !std::same_as<T, Base> && sizeof(T) != sizeof(Base);

/// Would cereal use the serialization of a base class of `T`, and so lose the members of `T`?
template <class T>
concept InheritsSerialization =
    std::is_class_v<T> &&
    ((requires {
         class_of(&T::template serialize<EncodeArchive>);
     } && LargerThan<T, decltype(class_of(&T::template serialize<EncodeArchive>))>) || (requires {
         class_of(&T::template save<EncodeArchive>);
     } && LargerThan<T, decltype(class_of(&T::template save<EncodeArchive>))>) ||
     (requires { container_of(std::declval<const T&>()); } &&
      LargerThan<T, decltype(container_of(std::declval<const T&>()))> &&
      !cereal::traits::is_specialized<T, EncodeArchive>::value));

// ---- types that are refused ---------------------------------------------------------------------

template <class T>
concept FunctionPointer = std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>;

template <class T>
concept ObjectPointer = std::is_pointer_v<T> && !FunctionPointer<T>;

template <class T>
inline constexpr bool is_span = false;
template <class T, std::size_t N>
inline constexpr bool is_span<std::span<T, N>> = true;

template <class T>
inline constexpr bool is_value_range_view = false; // a view that refers to nothing outside itself
template <class T, class Bound>
inline constexpr bool is_value_range_view<std::ranges::iota_view<T, Bound>> = true;
template <class T>
inline constexpr bool is_value_range_view<std::ranges::single_view<T>> = true;
template <class T>
inline constexpr bool is_value_range_view<std::ranges::empty_view<T>> = true;

/// A range that refers to elements which belong to something else.
template <class T>
concept ViewOfOthers = is_a<T, std::basic_string_view> || is_span<T> ||
                       (std::ranges::view<T> && !is_value_range_view<T> && !StandardType<T>);

struct CallFallback {
    void operator()();
};
template <class T>
struct CallProbe : T, CallFallback {};

/// Has the class `T` an `operator()`, of whatever signature? (Naming it is then ambiguous.)
template <class T>
concept Callable =
    std::is_class_v<T> && !std::is_final_v<T> && !requires { &CallProbe<T>::operator(); };

/// What looks like a lambda with captures: it can be called, has state, and can be made in no other
/// way than by its own expression. C++ has no way to ask; what is captured cannot be seen either.
template <class T>
concept Closure = std::is_class_v<T> && !std::is_empty_v<T> && !std::is_aggregate_v<T> &&
                  !std::is_default_constructible_v<T> && Callable<T>;

// ---- bytes as they are --------------------------------------------------------------------------

template <class T>
consteval bool is_bitwise();

/// Stands for a value of any type that is not encoded as it lies in memory.
struct AnyNonBitwise {
    template <class Member>
        requires(!is_bitwise<Member>())
    operator Member() const&& noexcept;
};

/// Are all members of the trivially copyable aggregate `T`, from the one at `Index` on, encoded as
/// they lie in memory?
template <class T, std::size_t Index = 0>
consteval bool has_bitwise_members() {
    if constexpr (takes_members<T, Index, AnyNonBitwise>) {
        return false;
    } else if constexpr (Index < max_members && takes_members<T, Index + 1>) {
        return has_bitwise_members<T, Index + 1>();
    } else {
        // A member that cannot be looked at is taken for the worst.
        return Index == max_members || (takes_members<T, Index> && !has_member_after<T, Index>);
    }
}

/// Is a `T` encoded as it lies in memory? True of scalars and of trivially copyable classes in
/// which no pointer can be seen. The inside of a class that is not an aggregate cannot be seen.
template <class T>
consteval bool is_bitwise() {
    if constexpr (std::is_array_v<T>) {
        return std::extent_v<T> != 0 && is_bitwise<std::remove_all_extents_t<T>>();
    } else if constexpr (std::is_scalar_v<T>) {
        return !ObjectPointer<T>;
    } else if constexpr (std::is_union_v<T>) {
        return std::is_trivially_copyable_v<T> && !has_serialization<T>;
    } else if constexpr (!std::is_class_v<T> || !std::is_trivially_copyable_v<T> ||
                         !std::is_move_constructible_v<T> || CerealWrapper<T>) {
        return false;
    } else if constexpr (is_a<T, std::complex> || is_a<T, std::chrono::time_point>) {
        return []<class E>(Types<E>) { return is_bitwise<E>(); }(typename ElementsOf<T>::type{});
    } else if constexpr (requires {
                             typename T::rep;
                             typename T::period;
                         } && StandardType<T>) {
        return is_bitwise<typename T::rep>(); // std::chrono::duration
    } else if constexpr (StandardType<T>) {
        // std::array; the others, such as std::optional, have states that must be checked.
        return requires {
            std::tuple_size<T>::value;
            typename T::value_type;
        } && []<class... E>(Types<E...>) {
            return (is_bitwise<E>() && ...);
        }(typename ElementsOf<T>::type{});
    } else if constexpr (has_serialization<T> || ViewOfOthers<T> ||
                         std::input_or_output_iterator<T> || is_a<T, std::reference_wrapper> ||
                         is_a<T, std::initializer_list> || Closure<T> ||
                         std::same_as<T, std::vector<bool>::reference>) {
        return false;
    } else if constexpr (std::is_aggregate_v<T> && !std::is_empty_v<T>) {
        return has_bitwise_members<T>();
    } else {
        return true;
    }
}

/// A type that is encoded as it lies in memory.
template <class T>
concept Bitwise = is_bitwise<T>();

/// `bool`, or an enumeration over it: the one scalar for which some bytes are no value.
template <class T>
concept BoolLike = std::same_as<T, bool> || (std::is_enum_v<T> && requires(T value) {
                       requires std::same_as<std::underlying_type_t<T>, bool>;
                   });

/// A container whose elements lie in one piece and are encoded so.
template <class T>
concept Contiguous = (is_a<T, std::vector> || is_a<T, std::basic_string> ||
                      is_a<T, std::valarray>)&&!std::same_as<typename T::value_type, bool> &&
                     Bitwise<typename T::value_type>;

// ---- the decision -------------------------------------------------------------------------------

/// How a type is encoded.
enum class Encoding {
    bitwise,     ///< as it lies in memory
    contiguous,  ///< the number of elements, then the elements as they lie in memory
    path,        ///< std::filesystem::path, as a string
    optional,    ///< std::optional: a byte, then the value
    variant,     ///< std::variant: the index, then the value
    valarray,    ///< std::valarray of elements that are not bitwise
    associative, ///< sets and maps: the number of elements, then keys, with values if it has any
    cereal,      ///< by cereal: other standard types, and types with a serialization of their own
    members,     ///< an aggregate, member by member
};

template <class T>
consteval Encoding encoding_of() {
    if constexpr (Bitwise<T>) {
        return Encoding::bitwise;
    } else if constexpr (Contiguous<T>) {
        return Encoding::contiguous;
    } else if constexpr (std::same_as<T, std::filesystem::path>) {
        return Encoding::path;
    } else if constexpr (is_a<T, std::optional>) {
        return Encoding::optional;
    } else if constexpr (is_a<T, std::variant>) {
        return Encoding::variant;
    } else if constexpr (is_a<T, std::valarray>) {
        return Encoding::valarray;
    } else if constexpr (StandardType<T> && requires { typename T::key_type; }) {
        return Encoding::associative;
    } else if constexpr (has_serialization<T> || std::is_array_v<T>) {
        return Encoding::cereal;
    } else {
        return Encoding::members;
    }
}

} // namespace prong::detail
