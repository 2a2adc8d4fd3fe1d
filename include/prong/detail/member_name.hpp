#pragma once

#include <prong/detail/aggregate.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>

/// \file
/// What the members of an aggregate are called, for messages of the compiler. C++20 does not tell,
/// but a compiler that prints a pointer to a member of an object prints the member's name.

namespace prong::detail {

/// Room for a `T` that is never made, but whose members have addresses.
template <class T>
union Unmade {
    constexpr Unmade() : none() {}
    constexpr ~Unmade() {}
    char none;
    T value;
};
template <class T>
inline Unmade<T> unmade;

template <class T>
struct Address {
    T* pointer;
};
template <class T>
Address(T*) -> Address<T>;

template <class T, std::size_t Index>
consteval auto address_of_member() {
    return Address{std::addressof(member_at<Index>(unmade<T>.value))};
}

template <auto>
struct Constant {};

/// Is the member at `Index` of `T` a reference? Then there is no telling where it refers to.
template <class T, std::size_t Index>
inline constexpr bool is_reference_member =
    !requires { typename Constant<address_of_member<T, Index>()>; };

/// A text that can be a template's argument.
template <std::size_t Size>
struct Text {
    char characters[Size + 1] = {};
};

template <Address Place>
consteval auto member_name_at() {
    // "… {&unmade.value.v}]" (Clang) or "… {(& unmade<S>.Unmade<S>::value.S::v)}]" (GCC)
    std::string_view text = __PRETTY_FUNCTION__;
    text = text.substr(0, text.find_last_not_of(")}]") + 1);
    return text.substr(text.find_last_of(":.& ") + 1);
}

/// The name of the class `T` without what it is in.
template <class T>
consteval auto class_name() {
    std::string_view text = __PRETTY_FUNCTION__; // "… [with T = space::Name<…>]"
    text = text.substr(text.find("T = ") + 4);
    text.remove_suffix(1);
    std::size_t begin = 0;
    int depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (std::string_view("<({").find(text[i]) != text.npos) ++depth;
        if (std::string_view(">)}").find(text[i]) != text.npos) --depth;
        if (text[i] == ':' && depth == 0) begin = i + 1;
    }
    return text.substr(begin);
}

/// Is `T` a union without a name?
template <class T>
consteval bool is_unnamed() {
    return class_name<T>().find("unnamed union") != std::string_view::npos ||
           class_name<T>().find("anonymous union") != std::string_view::npos;
}

/// Such as `S::v`.
template <class T, std::size_t Index>
consteval auto member_name() {
    constexpr std::string_view parts[] = {class_name<T>(),
                                          "::", member_name_at<address_of_member<T, Index>()>()};
    Text<parts[0].size() + parts[1].size() + parts[2].size()> name;
    std::size_t size = 0;
    for (const std::string_view part : parts) {
        for (const char character : part) name.characters[size++] = character;
    }
    name.characters[size] = '\0'; // or Clang prints numbers
    return name;
}

} // namespace prong::detail
