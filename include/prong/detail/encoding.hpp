#pragma once

#include <prong/detail/aggregate.hpp>
#include <prong/detail/archive.hpp>
#include <prong/detail/shared_object.hpp>
#include <prong/detail/standard_bytes.hpp>
#include <prong/detail/standard_type.hpp>

#include <bit>
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

namespace prong {

/// Says of a trivially copyable class or union of yours, into which the compiler cannot see (it has
/// private members or constructors), that its bytes mean the same in every process: that it holds
/// no pointer, index or handle to something of one process. It crosses as it lies in memory then:
///
///     template <>
///     inline constexpr bool prong::is_bitwise_transferable<Money> = true;
///
/// Write it right after the class, in every file that sees the class.
template <class T>
inline constexpr bool is_bitwise_transferable = false;

} // namespace prong

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

// A standard type that T derives from; cereal's overloads take T for it.
template <class... Args>
std::vector<Args...> container_of(const std::vector<Args...>&);
template <class... Args>
std::basic_string<Args...> container_of(const std::basic_string<Args...>&);
template <class... Args>
std::map<Args...> container_of(const std::map<Args...>&);
template <class... Args>
std::multimap<Args...> container_of(const std::multimap<Args...>&);
template <class... Args>
std::unordered_map<Args...> container_of(const std::unordered_map<Args...>&);
template <class... Args>
std::unordered_multimap<Args...> container_of(const std::unordered_multimap<Args...>&);
template <class... Args>
std::set<Args...> container_of(const std::set<Args...>&);
template <class... Args>
std::multiset<Args...> container_of(const std::multiset<Args...>&);
template <class... Args>
std::unordered_set<Args...> container_of(const std::unordered_set<Args...>&);
template <class... Args>
std::unordered_multiset<Args...> container_of(const std::unordered_multiset<Args...>&);
template <class... Args>
std::deque<Args...> container_of(const std::deque<Args...>&);
template <class... Args>
std::list<Args...> container_of(const std::list<Args...>&);
template <class... Args>
std::forward_list<Args...> container_of(const std::forward_list<Args...>&);
template <class... Args>
std::queue<Args...> container_of(const std::queue<Args...>&);
template <class... Args>
std::priority_queue<Args...> container_of(const std::priority_queue<Args...>&);
template <class... Args>
std::stack<Args...> container_of(const std::stack<Args...>&);
template <class... Args>
std::pair<Args...> container_of(const std::pair<Args...>&);
template <class... Args>
std::tuple<Args...> container_of(const std::tuple<Args...>&);
template <class... Args>
std::optional<Args...> container_of(const std::optional<Args...>&);
template <class... Args>
std::variant<Args...> container_of(const std::variant<Args...>&);
template <class T, std::size_t N>
std::array<T, N> container_of(const std::array<T, N>&);
template <class... Args>
std::unique_ptr<Args...> container_of(const std::unique_ptr<Args...>&);
template <class... Args>
std::shared_ptr<Args...> container_of(const std::shared_ptr<Args...>&);

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

template <class T, bool MayCall = true>
consteval bool is_bitwise();

template <class T>
inline constexpr bool is_value_range_view = false; // a view that refers to nothing outside itself
template <class T, class Bound>
inline constexpr bool is_value_range_view<std::ranges::iota_view<T, Bound>> =
    is_bitwise<T>() && is_bitwise<Bound>();
template <class T>
inline constexpr bool is_value_range_view<std::ranges::single_view<T>> = is_bitwise<T>();
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

/// Stands for a value of any type that is not encoded as it lies in memory.
template <bool MayCall>
struct AnyNonBitwise {
    template <class Member>
        requires(!is_bitwise<Member, MayCall>())
    operator Member() const&& noexcept;
};

template <class T>
struct BytesOf {
    unsigned char bytes[sizeof(T)];
};

/// Can the compiler make a `T` of bytes? Not if a pointer, a reference or a union is in it, however
/// deep. (This alone would not do: an index or a handle that a class hides may be as bad.)
template <class T>
concept MadeOfBytes = requires {
    typename std::bool_constant<(static_cast<void>(std::bit_cast<T>(BytesOf<T>{})), true)>;
};

/// Are all members of the trivially copyable aggregate `T`, from the one at `Index` on, encoded as
/// they lie in memory?
template <class T, bool MayCall, std::size_t Index = 0>
consteval bool has_bitwise_members() {
    if constexpr (takes_members<T, Index, AnyNonBitwise<MayCall>>) {
        return false;
    } else if constexpr (Index < max_members && takes_members<T, Index + 1>) {
        return has_bitwise_members<T, MayCall, Index + 1>();
    } else {
        // A member that cannot be looked at is taken for the worst.
        return Index == max_members ? MadeOfBytes<T>
                                    : takes_members<T, Index> && !has_member_after<T, Index>;
    }
}

template <class T, bool MayCall>
inline constexpr bool has_bitwise_elements = []<class... Elements>(Types<Elements...>) {
    return (is_bitwise<Elements, MayCall>() && ...);
}(typename ElementsOf<T>::type{});

/// Is a `T` encoded as it lies in memory? True of scalars, of trivially copyable aggregates without
/// pointers, and of other trivially copyable classes if their author says so. `MayCall`: whether
/// pointers to functions are such scalars.
template <class T, bool MayCall>
consteval bool is_bitwise() {
    if constexpr (std::is_array_v<T>) {
        return std::extent_v<T> != 0 && is_bitwise<std::remove_all_extents_t<T>, MayCall>();
    } else if constexpr (std::is_scalar_v<T>) {
        return !ObjectPointer<T> &&
               (MayCall || !(FunctionPointer<T> || std::is_member_function_pointer_v<T>));
    } else if constexpr (!std::is_trivially_copyable_v<T> || !std::is_move_constructible_v<T> ||
                         CerealWrapper<T>) {
        return false;
    } else if constexpr (is_bitwise_transferable<std::remove_cv_t<T>> ||
                         is_standard_bytes<std::remove_cv_t<T>> || is_value_range_view<T>) {
        return true;
    } else if constexpr (std::is_union_v<T>) {
        return false;
    } else if constexpr (is_a<T, std::complex> || is_a<T, std::chrono::time_point>) {
        return has_bitwise_elements<T, MayCall>;
    } else if constexpr (requires {
                             typename T::rep;
                             typename T::period;
                         } && StandardType<T>) {
        return is_bitwise<typename T::rep>(); // std::chrono::duration
    } else if constexpr (StandardType<T>) {
        // The others, such as std::optional, have states that must be checked.
        return is_standard_array<T> && has_bitwise_elements<T, MayCall>;
    } else if constexpr (has_serialization<T> || ViewOfOthers<T> ||
                         std::input_or_output_iterator<T> || is_a<T, std::reference_wrapper> ||
                         is_a<T, std::initializer_list> ||
                         std::same_as<T, std::vector<bool>::reference>) {
        return false;
    } else if constexpr (std::is_empty_v<T>) {
        return true;
    } else if constexpr (std::is_aggregate_v<T>) {
        // What has a reference cannot be assigned to; Boost.PFR shows it as what it refers to.
        constexpr bool may_refer = !std::is_move_assignable_v<T>;
        return has_bitwise_members<T, MayCall>() && (!may_refer || MadeOfBytes<T>);
    } else {
        return false;
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
    bitwise,        ///< as it lies in memory
    handle,         ///< a lock, a queue and the like: what names the object
    contiguous,     ///< the number of elements, then the elements as they lie in memory
    path,           ///< std::filesystem::path, as a string
    optional,       ///< std::optional: a byte, then the value
    variant,        ///< std::variant: the index, then the value
    valarray,       ///< std::valarray of elements that are not bitwise
    sequence,       ///< vectors, lists, deques: the number of elements, then the elements
    associative,    ///< sets and maps: their functions that have state; the number of elements,
                    ///< then keys, with values if it has any
    priority_queue, ///< its comparison if that has state, then the container
    unique_ptr,     ///< std::unique_ptr to something that can be moved: a byte, then the object
    parts,          ///< std::pair, std::tuple, std::array: the elements
    cereal,  ///< by cereal: other standard types, and types with a serialization of their own
    members, ///< an aggregate, member by member
};

/// A pointer to an object that need not be made before it is decoded, and is told by its type.
template <class T>
concept PlainUniquePointer = is_a<T, std::unique_ptr> && !is_array_pointer<T> && requires {
    requires !std::is_polymorphic_v<typename T::element_type>;
    requires std::is_move_constructible_v<std::remove_cv_t<typename T::element_type>>;
    requires !has_serialization<std::remove_cv_t<typename T::element_type>> ||
                 StandardType<std::remove_cv_t<typename T::element_type>>;
};

template <class T>
consteval Encoding encoding_of() {
    if constexpr (Bitwise<T>) {
        return Encoding::bitwise;
    } else if constexpr (Handle<T>) {
        return Encoding::handle;
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
    } else if constexpr ((is_a<T, std::vector> && !is_vector_of_bool<T>) || is_a<T, std::deque> ||
                         is_a<T, std::list> || is_a<T, std::forward_list>) {
        return Encoding::sequence;
    } else if constexpr (StandardType<T> && requires { typename T::key_type; }) {
        return Encoding::associative;
    } else if constexpr (is_a<T, std::priority_queue>) {
        return Encoding::priority_queue;
    } else if constexpr (PlainUniquePointer<T>) {
        return Encoding::unique_ptr;
    } else if constexpr (StandardType<T> && requires { std::tuple_size<T>::value; }) {
        return Encoding::parts;
    } else if constexpr (has_serialization<T> || std::is_array_v<T>) {
        return Encoding::cereal;
    } else {
        return Encoding::members;
    }
}

} // namespace prong::detail
