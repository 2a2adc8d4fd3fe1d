#pragma once

#include <prong/detail/encoding.hpp>
#include <prong/with_captures.hpp>

#include <concepts>
#include <cstddef>
#include <stop_token>
#include <type_traits>

/// \file
/// What parameters a callable declares.

namespace prong::detail {

/// The result and the parameters that a callable declares.
template <class R, class... Ps>
struct Signature {
    using Result = R;
    static constexpr std::size_t parameter_count = sizeof...(Ps);
};

/// Stands for the parameters of a callable that can be called in more than one way.
struct NoSignature {
    static constexpr std::size_t parameter_count = 0;
};

/// A parameter for which a task may get its own stop token.
template <class T>
concept StopToken = std::same_as<std::remove_cvref_t<T>, std::stop_token> &&
                    std::convertible_to<std::stop_token, T>;

/// The parameter of a callable that does not say what it is.
struct Undeclared {};

/// The object that a member function is called on.
template <class Class, bool IsRvalue>
struct ObjectParameter {};

/// The class, the result and the parameters of a pointer to a member function.
template <class Member>
struct MemberSignature;

#define PRONG_MEMBER_SIGNATURE(QUALIFIERS, IS_RVALUE)                                              \
    template <class R, class C, class... Ps>                                                       \
    struct MemberSignature<R (C::*)(Ps...) QUALIFIERS> {                                           \
        using OfFunctor = Signature<R, Ps...>;                                                     \
        using OfMember = Signature<R, ObjectParameter<C, IS_RVALUE>, Ps...>;                       \
    };
PRONG_MEMBER_SIGNATURE(, false)
PRONG_MEMBER_SIGNATURE(const, false)
PRONG_MEMBER_SIGNATURE(&, false)
PRONG_MEMBER_SIGNATURE(const&, false)
PRONG_MEMBER_SIGNATURE(&&, true)
PRONG_MEMBER_SIGNATURE(const&&, true)
PRONG_MEMBER_SIGNATURE(noexcept, false)
PRONG_MEMBER_SIGNATURE(const noexcept, false)
PRONG_MEMBER_SIGNATURE(& noexcept, false)
PRONG_MEMBER_SIGNATURE(const& noexcept, false)
PRONG_MEMBER_SIGNATURE(&& noexcept, true)
PRONG_MEMBER_SIGNATURE(const&& noexcept, true)
#undef PRONG_MEMBER_SIGNATURE

/// What the callable `F` declares: a `Signature`, or `NoSignature`.
template <class F>
struct SignatureOf {
    using type = NoSignature;
};
template <class R, class... Ps>
struct SignatureOf<R (*)(Ps...)> {
    using type = Signature<R, Ps...>;
};
template <class R, class... Ps>
struct SignatureOf<R (*)(Ps...) noexcept> {
    using type = Signature<R, Ps...>;
};
template <class F>
    requires std::is_member_function_pointer_v<F>
struct SignatureOf<F> {
    using type = typename MemberSignature<F>::OfMember;
};
template <class F>
    requires requires { &F::operator(); }
struct SignatureOf<F> {
    using type = typename MemberSignature<decltype(&F::operator())>::OfFunctor;
};
template <class F>
struct SignatureOf<WithCaptures<F>> : SignatureOf<F> {};

} // namespace prong::detail
