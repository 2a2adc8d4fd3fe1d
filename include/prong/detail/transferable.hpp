#pragma once

#include <prong/detail/encoding.hpp>
#include <prong/detail/member_name.hpp>

#include <memory_resource>
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
    hidden,
    function_state,
    lost_function_state,
    allocator,
    deleter,
    one_way,
    inherited_serialization,
    shape,
    no_default_constructor,
    const_member,
    immovable,
    unknown,
};

// Where in a value an obstacle is: for the compiler to print, in `refuse`.
template <Text Name>
struct Member; ///< such as `S::v`
template <class T>
struct ElementOf;
template <class T>
struct FunctionObjectOf;
template <class T>
struct AllocatorOf;
template <class T>
struct DeleterOf;

/// The obstacle `Why`: the type `Culprit`, found in the places `Where`, from the inside out.
template <Obstacle Why, class Culprit = void, class... Where>
struct Found {
    static constexpr bool any = Why != Obstacle::none;
    template <class Outer>
    using in = Found<Why, Culprit, Where..., Outer>;
};
using NoneFound = Found<Obstacle::none>;

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

/// Among the types that a value is found in: it is decoded where it lies, not made by `read`.
struct InPlace;
/// Among them: it belongs to a function object, which decoding calls.
struct Called;

template <class T, class... Types>
inline constexpr bool is_one_of = (std::same_as<T, Types> || ...);

template <class... Within>
inline constexpr bool is_in_place = false;
template <class... Within>
inline constexpr bool is_in_place<InPlace, Within...> = true;

template <class T, class... Within>
consteval auto find_obstacle();

/// What stands in the way of a `T` that was found in the types `Within`: a `Found`.
template <class T, class... Within>
using ObstacleTo = decltype(find_obstacle<T, Within...>());

/// The first obstacle to one of the types, which are in the place `Where`.
template <class Where, class... Within>
consteval auto find_obstacle_to_any(Types<>) {
    return NoneFound{};
}
template <class Where, class... Within, class First, class... Rest>
consteval auto find_obstacle_to_any(Types<First, Rest...>) {
    using Inside = ObstacleTo<std::remove_cv_t<First>, Within...>;
    if constexpr (Inside::any) {
        return typename Inside::template in<Where>{};
    } else {
        return find_obstacle_to_any<Where, Within...>(Types<Rest...>{});
    }
}

/// The first obstacle to a member of the aggregate `T`, from the one at `Index` on.
template <class T, std::size_t Index, class... Within>
consteval auto find_obstacle_to_member() {
    if constexpr (Index == member_count<T>) {
        return NoneFound{};
    } else {
        using Plain = std::remove_cv_t<MemberType<T, Index>>;
        // Only a class that cannot be assigned to has references; there the look is worth it.
        constexpr bool is_reference =
            !std::is_move_assignable_v<T> && is_reference_member<T, Index>;
        using Inside = ObstacleTo<std::conditional_t<is_reference, Plain&, Plain>, Within...>;
        if constexpr (is_reference) { // is not named: it has no address
            return typename Inside::template in<T>{};
        } else if constexpr (Inside::any) {
            return typename Inside::template in<Member<member_name<T, Index>()>>{};
        } else {
            return find_obstacle_to_member<T, Index + 1, Within...>();
        }
    }
}

/// Holds nothing, and can be made from nothing.
template <class F>
concept Stateless =
    std::is_empty_v<F> &&
    (std::is_default_constructible_v<F> ||
     (std::is_trivially_copy_constructible_v<F> && std::is_trivially_destructible_v<F>));

/// The first obstacle to a function object of the standard container `T`.
template <class T, class... Within>
consteval auto find_obstacle_to_function(Types<>) {
    return NoneFound{};
}
template <class T, class... Within, class First, class... Rest>
consteval auto find_obstacle_to_function(Types<First, Rest...>) {
    if constexpr (Stateless<First>) {
        return find_obstacle_to_function<T, Within...>(Types<Rest...>{});
    } else if constexpr (std::is_pointer_v<First> || std::is_empty_v<First>) {
        return Found<Obstacle::function_state, First, FunctionObjectOf<T>>{};
    } else {
        using Inside = ObstacleTo<First, Called, T, Within...>;
        if constexpr (Inside::any) {
            return typename Inside::template in<FunctionObjectOf<T>>{};
        } else {
            return find_obstacle_to_function<T, Within...>(Types<Rest...>{});
        }
    }
}

template <class T>
inline constexpr bool has_plain_deleter = true;
template <class T, class D>
inline constexpr bool has_plain_deleter<std::unique_ptr<T, D>> =
    std::is_empty_v<D> && std::is_default_constructible_v<D>;

/// Has `T` no allocator, or one that may be replaced by a new one?
template <class T>
inline constexpr bool has_plain_allocator = true;
template <class T>
    requires requires { typename T::allocator_type; }
inline constexpr bool has_plain_allocator<T> =
    std::is_default_constructible_v<typename T::allocator_type> &&
    (std::is_empty_v<typename T::allocator_type> ||
     is_a<typename T::allocator_type, std::pmr::polymorphic_allocator>);

/// The first obstacle to what the standard type `T` has beside its elements.
template <class T, class... Within>
consteval auto find_obstacle_beside_elements() {
    if constexpr (!has_plain_deleter<T>) {
        return Found<Obstacle::deleter, typename T::deleter_type, DeleterOf<T>>{};
    } else if constexpr (!has_plain_allocator<T>) {
        return Found<Obstacle::allocator, typename T::allocator_type, AllocatorOf<T>>{};
    } else {
        return find_obstacle_to_function<T, Within...>(typename FunctionsOf<T>::type{});
    }
}

/// Has the container `T` function objects that would have to be encoded?
template <class T>
inline constexpr bool has_function_state = []<class... Fs>(Types<Fs...>) {
    return (!Stateless<Fs> || ...);
}(typename FunctionsOf<T>::type{});

template <class T>
concept HasFunctionState = has_function_state<T>;

/// Would `T`, which is a container with such function objects or derives from one, be encoded by
/// cereal's functions for all containers, which leave them out?
template <class T>
concept LosesFunctionState =
    !cereal::traits::is_specialized<T, EncodeArchive>::value &&
    !cereal::traits::has_member_serialize<T, EncodeArchive>::value &&
    !cereal::traits::has_member_save<T, EncodeArchive>::value && (HasFunctionState<T> || requires {
        { container_of(std::declval<const T&>()) } -> HasFunctionState;
    });

/// Are all of the types default constructible?
template <class... Ts>
consteval bool are_default_constructible(Types<Ts...>) {
    return (std::is_default_constructible_v<std::remove_cv_t<Ts>> && ...);
}

/// Stands for a value of any pointer type.
struct AnyPointer {
    template <class Member>
        requires ObjectPointer<Member>
    operator Member() const&& noexcept;
};

/// Stands for a value of any union that has no name.
struct AnyUnnamedUnion {
    template <class Member>
        requires(std::is_union_v<Member> && is_unnamed<Member>())
    operator Member() const&& noexcept;
};

/// Has the aggregate `T`, which perhaps cannot be taken apart, a member that `Any` stands for?
template <class T, class Any>
inline constexpr bool has_any = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (takes_members<T, Index, Any> || ...);
}(std::make_index_sequence<member_count<T>>{});

template <class T>
inline constexpr bool has_const_member = []<std::size_t... Index>(std::index_sequence<Index...>) {
    return (std::is_const_v<MemberType<T, Index>> || ...);
}(std::make_index_sequence<member_count<T>>{});

/// The obstacle to the object behind a smart pointer of type `T`.
template <class T, class... Within>
consteval auto find_obstacle_to_pointee() {
    using Pointee = std::remove_cv_t<typename T::element_type>;
    if constexpr (std::is_polymorphic_v<Pointee>) {
        return NoneFound{}; // known when it runs: see CEREAL_REGISTER_TYPE
    } else if constexpr (is_array_pointer<T>) {
        return Found<Obstacle::unknown, T>{};
    } else if constexpr (encoding_of<T>() == Encoding::unique_ptr) {
        return find_obstacle_to_any<ElementOf<T>, T, Within...>(Types<Pointee>{});
    } else {
        using Inside =
            decltype(find_obstacle_to_any<ElementOf<T>, InPlace, T, Within...>(Types<Pointee>{}));
        constexpr bool is_made =
            Makeable<Pointee> ||
            cereal::traits::has_load_and_construct<Pointee, DecodeArchive>::value;
        if constexpr (Inside::any || is_made) {
            return Inside{};
        } else {
            return Found<Obstacle::no_default_constructor, Pointee, ElementOf<T>>{};
        }
    }
}

/// The obstacle to a type of the standard library.
template <StandardType T, class... Within>
consteval auto find_obstacle_to_standard() {
    using Elements = typename ElementsOf<T>::type;
    using Beside = decltype(find_obstacle_beside_elements<T, Within...>());
    if constexpr (Beside::any) {
        return Beside{};
    } else if constexpr (SmartPointer<T>) {
        return find_obstacle_to_pointee<T, Within...>();
    } else if constexpr (is_in_place<Within...> && is_standard_array<T>) {
        return find_obstacle_to_any<ElementOf<T>, InPlace, T, Within...>(Elements{});
    } else {
        using Inside = decltype(find_obstacle_to_any<ElementOf<T>, T, Within...>(Elements{}));
        constexpr bool is_filled = is_a<T, std::valarray> || is_a<T, std::queue> ||
                                   is_a<T, std::stack> || is_a<T, std::atomic>;
        if constexpr (Inside::any) {
            return Inside{};
        } else if constexpr (is_filled && !are_default_constructible(Elements{})) {
            return Found<Obstacle::no_default_constructor, T>{};
        } else if constexpr (is_in_place<Within...> && encoding_of<T>() != Encoding::cereal &&
                             !std::is_move_assignable_v<T>) {
            return Found<Obstacle::const_member, T>{};
        } else if constexpr (!is_in_place<Within...> && !std::is_move_constructible_v<T>) {
            return Found<Obstacle::immovable, T>{};
        } else {
            return Inside{};
        }
    }
}

/// The obstacle to a type that has, or inherits, a serialization for cereal.
template <class T, class... Within>
consteval auto find_obstacle_to_serialized() {
    if constexpr (!has_complete_serialization<T>) {
        return Found<Obstacle::one_way, T>{};
    } else if constexpr (InheritsSerialization<T>) {
        return Found<Obstacle::inherited_serialization, T>{};
    } else if constexpr (LosesFunctionState<T>) {
        return Found<Obstacle::lost_function_state, T>{};
    } else if constexpr (is_in_place<Within...>) {
        return NoneFound{};
    } else if constexpr (!std::is_abstract_v<T> && !std::is_move_constructible_v<T>) {
        return Found<Obstacle::immovable, T>{};
    } else if constexpr (!Makeable<T>) {
        return Found<Obstacle::no_default_constructor, T>{};
    } else {
        return NoneFound{};
    }
}

/// The obstacle to an aggregate that is encoded member by member.
template <Reflectable T, class... Within>
consteval auto find_obstacle_to_aggregate() {
    if constexpr (!is_in_place<Within...> || std::is_move_assignable_v<T>) {
        using Inside = decltype(find_obstacle_to_member<T, 0, T, Within...>());
        if constexpr (Inside::any || std::is_move_constructible_v<T>) {
            return Inside{};
        } else {
            return Found<Obstacle::immovable, T>{};
        }
    } else if constexpr (has_const_member<T>) {
        return Found<Obstacle::const_member, T>{};
    } else {
        return find_obstacle_to_member<T, 0, InPlace, T, Within...>();
    }
}

/// The obstacle to a `T` that was found in the types `Within`.
template <class T, class... Within>
consteval auto find_obstacle() {
    constexpr bool may_call = !is_one_of<Called, Within...>;
    if constexpr (std::is_reference_v<T>) {
        return Found<Obstacle::reference, T>{};
    } else if constexpr (ObjectPointer<T>) {
        return Found<Obstacle::pointer, T>{};
    } else if constexpr (std::is_array_v<T> && std::extent_v<T> != 0) {
        return find_obstacle<std::remove_all_extents_t<T>, Within...>();
    } else if constexpr (is_bitwise<T, may_call>()) {
        return NoneFound{};
    } else if constexpr (Handle<T>) {
        return NoneFound{};
    } else if constexpr (std::is_scalar_v<T>) {
        return Found<Obstacle::function_state, T>{};
    } else if constexpr (is_one_of<T, Within...>) {
        return NoneFound{}; // a type that contains itself by a container or a smart pointer
    } else if constexpr (is_a<T, std::reference_wrapper>) {
        return Found<Obstacle::reference_wrapper, T>{};
    } else if constexpr (is_a<T, std::function>) {
        return Found<Obstacle::function, T>{};
    } else if constexpr (std::same_as<T, std::vector<bool>::reference>) {
        return Found<Obstacle::bit_reference, T>{};
    } else if constexpr (StandardType<T>) {
        return find_obstacle_to_standard<T, Within...>();
    } else if constexpr (std::same_as<T, std::filesystem::path>) {
        return NoneFound{};
    } else if constexpr (has_serialization<T>) {
        return find_obstacle_to_serialized<T, Within...>();
    } else if constexpr (ViewOfOthers<T>) {
        return Found<Obstacle::view, T>{};
    } else if constexpr (Closure<T>) {
        return Found<Obstacle::closure, T>{};
    } else if constexpr (std::input_or_output_iterator<T>) {
        return Found<Obstacle::iterator, T>{};
    } else if constexpr (std::is_union_v<T> ||
                         (std::is_class_v<T> && !std::is_aggregate_v<T> &&
                          std::is_trivially_copyable_v<T> && std::is_move_constructible_v<T>)) {
        return Found<Obstacle::hidden, T>{};
    } else if constexpr (!std::is_class_v<T> || !std::is_aggregate_v<T>) {
        return Found<Obstacle::unknown, T>{};
    } else if constexpr (has_any<T, AnyUnnamedUnion>) {
        return Found<Obstacle::hidden, T>{};
    } else if constexpr (!Reflectable<T>) {
        constexpr Obstacle why = has_any<T, AnyPointer> ? Obstacle::pointer : Obstacle::shape;
        return Found<why, T>{};
    } else {
        return find_obstacle_to_aggregate<T, Within...>();
    }
}

/// Can a value of the transferable type `T` hold a parcel, as far as the compiler sees?
/// `OnlyMoved`: one that is moved by encoding. `Within`: the types that it was found in.
template <class T, bool OnlyMoved = false, class... Within>
consteval bool holds_parcels() {
    constexpr auto any = []<class... Parts>(Types<Parts...>) {
        return (holds_parcels<std::remove_cv_t<Parts>, OnlyMoved, T, Within...>() || ...);
    };
    if constexpr (Parcel<T>) {
        return !OnlyMoved || HandleAccess::is_moved_by_encoding<T>();
    } else if constexpr (is_bitwise<T>() || is_one_of<T, Within...>) {
        return false;
    } else if constexpr (SmartPointer<T>) {
        return any(Types<typename T::element_type>{});
    } else if constexpr (StandardType<T>) {
        return any(typename ElementsOf<T>::type{});
    } else if constexpr (has_serialization<T> || !std::is_class_v<T> || !Reflectable<T>) {
        return false;
    } else {
        return [any]<std::size_t... Index>(std::index_sequence<Index...>) {
            return any(Types<MemberType<T, Index>...>{});
        }(std::make_index_sequence<member_count<T>>{});
    }
}

/// Is a `T`, which may be of any type, moved by encoding as a `SharedBuffer` is?
template <class T>
consteval bool is_moved_by_encoding() {
    if constexpr (ObstacleTo<T>::any) {
        return false; // it is not encoded so, and perhaps cannot be looked into
    } else {
        return holds_parcels<T, true>();
    }
}

/// Does an argument of type `Arg` hold a parcel that the caller would keep?
template <class Arg>
inline constexpr bool keeps_parcels =
    (std::is_lvalue_reference_v<Arg> ||
     std::is_const_v<
         std::remove_reference_t<Arg>>)&&is_moved_by_encoding<std::remove_cvref_t<Arg>>();

/// Compiles only if no argument would have to leave a parcel to the caller.
template <class... Args>
consteval bool require_passed_on() {
    static_assert(!(keeps_parcels<Args> || ...),
                  "prong: a SharedBuffer cannot be copied to another process: pass "
                  "std::move(buffer) (or the container, pair or struct that it is in), or pass "
                  "buffer.share(), a view that any number of tasks may have");
    return !(keeps_parcels<Args> || ...);
}

/// Says why a `Culprit` cannot cross to another process; `Where` it is, from the inside out, is
/// printed by the compiler.
template <Obstacle Why, class Culprit, class... Where>
consteval bool refuse() {
    static_assert(Why != Obstacle::reference,
                  "prong: a reference cannot cross to another process: pass the object by value");
    static_assert(Why != Obstacle::pointer,
                  "prong: a raw pointer cannot cross to another process: pass the object itself, "
                  "or a std::string, a std::vector, a std::unique_ptr, or a std::span<const T> "
                  "parameter");
    static_assert(Why != Obstacle::view,
                  "prong: a view cannot cross to another process inside a value or as a result: "
                  "use a std::string, a std::vector or another container that owns its elements");
    static_assert(Why != Obstacle::reference_wrapper,
                  "prong: a std::reference_wrapper (std::ref) cannot cross to another process: "
                  "pass the object by value and return what has changed");
    static_assert(Why != Obstacle::function,
                  "prong: a std::function cannot cross to another process: pass a function, a "
                  "captureless lambda or a function object");
    static_assert(Why != Obstacle::iterator,
                  "prong: an iterator cannot cross to another process: pass the container");
    static_assert(Why != Obstacle::closure,
                  "prong: a lambda with captures cannot cross to another process as it is: pass "
                  "what it captures as arguments, or mark it by prong::with_captures(lambda) if "
                  "it captures neither pointers nor references (if it is a class of yours that "
                  "can be called: make it an aggregate, or give it a serialize function, or say "
                  "that its bytes mean the same everywhere by prong::is_bitwise_transferable)");
    static_assert(Why != Obstacle::bit_reference,
                  "prong: an element of a std::vector<bool> refers to the vector: pass "
                  "static_cast<bool>(element)");
    static_assert(Why != Obstacle::hidden,
                  "prong: the compiler cannot see whether this class or union holds pointers, "
                  "which must not cross to another process: make it an aggregate (public members, "
                  "no constructors), or give it a serialize function, or, if its bytes mean the "
                  "same everywhere, write after it: template <> inline constexpr bool "
                  "prong::is_bitwise_transferable<TheClass> = true;");
    static_assert(Why != Obstacle::function_state,
                  "prong: a container cannot cross to another process with a comparison or hash "
                  "that is, or holds, a function pointer, which decoding would call, or that "
                  "cannot be made anew: use a class with an operator() (its members cross with "
                  "it)");
    static_assert(Why != Obstacle::lost_function_state,
                  "prong: this class would be encoded as just the elements of a container, and "
                  "lose the state of the container's comparison or hash: use a standard container "
                  "(as a member), or give the class a serialize function of its own (with "
                  "CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES)");
    static_assert(Why != Obstacle::allocator,
                  "prong: an allocator with state cannot cross to another process: use a "
                  "container with std::allocator (or of std::pmr, which arrives with the default "
                  "memory resource)");
    static_assert(Why != Obstacle::deleter,
                  "prong: a std::unique_ptr with a deleter that has state, or is a function "
                  "pointer, cannot cross to another process: use the default deleter");
    static_assert(Why != Obstacle::one_way,
                  "prong: cereal can only save or only load this type, or finds more than one way "
                  "to: give it one serialize function, or one pair of save and load (see "
                  "CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES)");
    static_assert(Why != Obstacle::inherited_serialization,
                  "prong: this type would be encoded by the serialization of its base class and "
                  "lose its own members: give it a serialize function of its own (with "
                  "CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES)");
    static_assert(Why != Obstacle::shape,
                  "prong: an aggregate with a base class, a C array or too many members cannot be "
                  "taken apart: use std::array, or give it a serialize function, or, if its bytes "
                  "mean the same everywhere, specialise prong::is_bitwise_transferable");
    static_assert(Why != Obstacle::no_default_constructor,
                  "prong: a type that is decoded by its serialize function needs a default "
                  "constructor (a private one will do if its serialization is private as well, "
                  "with 'friend class cereal::access')");
    static_assert(Why != Obstacle::const_member,
                  "prong: what a serialize function or a std::shared_ptr fills cannot have const "
                  "members");
    static_assert(Why != Obstacle::immovable,
                  "prong: a type that can be neither copied nor moved cannot cross to another "
                  "process by value: hold it by a std::unique_ptr");
    static_assert(Why != Obstacle::unknown,
                  "prong: this type cannot cross to another process: it is neither trivially "
                  "copyable nor an aggregate and has no serialize function for cereal");
    return false;
}

template <Obstacle Why, class Culprit, class... Where>
consteval bool refuse(Found<Why, Culprit, Where...>) {
    return refuse<Why, Culprit, Where...>();
}

/// Compiles only if `T` can be encoded and decoded; else the compiler says why not. For a value
/// that is decoded where it lies, `Within` is `InPlace`.
template <class T, class... Within>
consteval bool require_transferable() {
    using Inside = ObstacleTo<T, Within...>;
    if constexpr (Inside::any) {
        return refuse(Inside{});
    } else {
        return true;
    }
}

/// The same for a value that a serialization encodes: somehow it will be decoded.
template <class T>
consteval bool require_encodable() {
    if constexpr (ObstacleTo<T>::any) {
        return require_transferable<T, InPlace>();
    } else {
        return true;
    }
}

} // namespace prong::detail
