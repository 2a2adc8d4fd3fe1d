#pragma once

#include <prong/detail/aggregate.hpp>
#include <prong/detail/archive.hpp>

#include <chrono>
#include <complex>
#include <filesystem>
#include <functional>
#include <iterator>
#include <ranges>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <valarray>

/// \file
/// Decides for every type how it is encoded, or why it cannot be.

namespace prong::detail {

/// Is `T` a specialisation of the class template `Template`?
template <class T, template <class...> class Template>
inline constexpr bool is_a = false;
template <class... Args, template <class...> class Template>
inline constexpr bool is_a<Template<Args...>, Template> = true;

template <class... Ts>
struct Types {};

/// The value types inside the standard type `T` (empty for any other type).
template <class T>
struct ElementsOf {
    using type = Types<>;
};
template <class... Ts>
struct Elements {
    using type = Types<Ts...>;
    static constexpr bool is_standard = true;
};
// clang-format off
template <class T, class A> struct ElementsOf<std::vector<T, A>> : Elements<T> {};
template <class T, class A> struct ElementsOf<std::deque<T, A>> : Elements<T> {};
template <class T, class A> struct ElementsOf<std::list<T, A>> : Elements<T> {};
template <class T, class A> struct ElementsOf<std::forward_list<T, A>> : Elements<T> {};
template <class T, class R, class A> struct ElementsOf<std::basic_string<T, R, A>> : Elements<T> {};
template <class T, std::size_t N> struct ElementsOf<std::array<T, N>> : Elements<T> {};
template <class T> struct ElementsOf<std::valarray<T>> : Elements<T> {};
template <class T> struct ElementsOf<std::optional<T>> : Elements<T> {};
template <class... Ts> struct ElementsOf<std::variant<Ts...>> : Elements<Ts...> {};
template <class... Ts> struct ElementsOf<std::tuple<Ts...>> : Elements<Ts...> {};
template <class T, class U> struct ElementsOf<std::pair<T, U>> : Elements<T, U> {};
template <class K, class C, class A> struct ElementsOf<std::set<K, C, A>> : Elements<K> {};
template <class K, class C, class A> struct ElementsOf<std::multiset<K, C, A>> : Elements<K> {};
template <class K, class V, class C, class A> struct ElementsOf<std::map<K, V, C, A>> : Elements<K, V> {};
template <class K, class V, class C, class A> struct ElementsOf<std::multimap<K, V, C, A>> : Elements<K, V> {};
template <class K, class H, class E, class A> struct ElementsOf<std::unordered_set<K, H, E, A>> : Elements<K> {};
template <class K, class H, class E, class A> struct ElementsOf<std::unordered_multiset<K, H, E, A>> : Elements<K> {};
template <class K, class V, class H, class E, class A> struct ElementsOf<std::unordered_map<K, V, H, E, A>> : Elements<K, V> {};
template <class K, class V, class H, class E, class A> struct ElementsOf<std::unordered_multimap<K, V, H, E, A>> : Elements<K, V> {};
template <class T, class C> struct ElementsOf<std::queue<T, C>> : Elements<T> {};
template <class T, class C> struct ElementsOf<std::stack<T, C>> : Elements<T> {};
template <class T, class C, class L> struct ElementsOf<std::priority_queue<T, C, L>> : Elements<T> {};
template <class T, class D> struct ElementsOf<std::unique_ptr<T, D>> : Elements<T> {};
template <class T> struct ElementsOf<std::shared_ptr<T>> : Elements<T> {};
template <class T> struct ElementsOf<std::weak_ptr<T>> : Elements<T> {};
template <class T> struct ElementsOf<std::atomic<T>> : Elements<T> {};
template <class T> struct ElementsOf<std::complex<T>> : Elements<T> {};
template <class R, class P> struct ElementsOf<std::chrono::duration<R, P>> : Elements<R> {};
template <class C, class D> struct ElementsOf<std::chrono::time_point<C, D>> : Elements<D> {};
template <std::size_t N> struct ElementsOf<std::bitset<N>> : Elements<> {};
template <> struct ElementsOf<std::monostate> : Elements<> {};
// clang-format on

template <class T>
concept StandardType = requires { ElementsOf<T>::is_standard; };

template <class T>
concept SmartPointer =
    is_a<T, std::unique_ptr> || is_a<T, std::shared_ptr> || is_a<T, std::weak_ptr>;

template <class T>
inline constexpr bool is_array_pointer = false; // a smart pointer to an array
template <class T, class D>
inline constexpr bool is_array_pointer<std::unique_ptr<T[], D>> = true;
template <class T>
inline constexpr bool is_array_pointer<std::shared_ptr<T[]>> = true;

/// Wrappers that cereal passes around a value; never values of the user's.
template <class T>
concept CerealWrapper =
    is_a<T, cereal::NameValuePair> || is_a<T, cereal::SizeTag> || is_a<T, cereal::BinaryData> ||
    is_a<T, cereal::MapItem> || is_a<T, cereal::DeferredData> ||
    is_a<T, cereal::memory_detail::PtrWrapper> ||
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
    bitwise,    ///< as it lies in memory
    contiguous, ///< the number of elements, then the elements as they lie in memory
    path,       ///< std::filesystem::path, as a string
    optional,   ///< std::optional: a byte, then the value
    variant,    ///< std::variant: the index, then the value
    valarray,   ///< std::valarray of elements that are not bitwise
    cereal,     ///< by cereal: other standard types, and types with a serialization of their own
    members,    ///< an aggregate, member by member
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
    } else if constexpr (has_serialization<T> || std::is_array_v<T>) {
        return Encoding::cereal;
    } else {
        return Encoding::members;
    }
}

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

/// Can cereal load into a `T` made for the purpose?
template <class T>
inline constexpr bool is_makeable =
    Bitwise<T> || cereal::traits::is_default_constructible<T>::value;

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
        } else if constexpr (is_a<T, std::optional> || is_a<T, std::variant>) {
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
        } else if constexpr (sizeof...(Within) == 0 && !is_makeable<T>) {
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
                  "private one will do, with 'friend class cereal::access')");
    static_assert(obstacle != Obstacle::immovable,
                  "prong: a type that can be neither copied nor moved cannot cross to another "
                  "process by value: hold it by a std::unique_ptr");
    static_assert(obstacle != Obstacle::unknown,
                  "prong: this type cannot cross to another process: it is neither trivially "
                  "copyable nor an aggregate and has no serialize function for cereal");
    return obstacle == Obstacle::none;
}

} // namespace prong::detail
