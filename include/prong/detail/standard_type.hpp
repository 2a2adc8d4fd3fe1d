#pragma once

#include <prong/detail/archive.hpp>

#include <chrono>
#include <complex>
#include <type_traits>
#include <valarray>

/// \file
/// Which types of the standard library hold which values.

namespace prong::detail {

/// Is `T` a specialisation of the class template `Template`?
template <class T, template <class...> class Template>
inline constexpr bool is_a = false;
template <class... Args, template <class...> class Template>
inline constexpr bool is_a<Template<Args...>, Template> = true;

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
template <class T, class C> struct ElementsOf<std::queue<T, C>> : Elements<C> {};
template <class T, class C> struct ElementsOf<std::stack<T, C>> : Elements<C> {};
template <class T, class C, class L> struct ElementsOf<std::priority_queue<T, C, L>> : Elements<C> {};
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

/// The function objects by which the standard container `T` orders or finds its elements.
template <class T>
struct FunctionsOf {
    using type = Types<>;
};
template <class T>
    requires requires { typename T::key_compare; }
struct FunctionsOf<T> {
    using type = Types<typename T::key_compare>;
};
template <class T>
    requires requires { typename T::hasher; }
struct FunctionsOf<T> {
    using type = Types<typename T::hasher, typename T::key_equal>;
};
template <class T, class C, class Less>
struct FunctionsOf<std::priority_queue<T, C, Less>> {
    using type = Types<Less>;
};

template <class T>
inline constexpr bool is_vector_of_bool = false;
template <class A>
inline constexpr bool is_vector_of_bool<std::vector<bool, A>> = true;

template <class T>
inline constexpr bool is_standard_array = false;
template <class T, std::size_t N>
inline constexpr bool is_standard_array<std::array<T, N>> = true;

template <class T>
concept SmartPointer =
    is_a<T, std::unique_ptr> || is_a<T, std::shared_ptr> || is_a<T, std::weak_ptr>;

template <class T>
inline constexpr bool is_array_pointer = false; // a smart pointer to an array
template <class T, class D>
inline constexpr bool is_array_pointer<std::unique_ptr<T[], D>> = true;
template <class T>
inline constexpr bool is_array_pointer<std::shared_ptr<T[]>> = true;

} // namespace prong::detail
