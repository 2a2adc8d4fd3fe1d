#pragma once

#include <prong/codec.hpp>
#include <prong/detail/names.hpp>
#include <prong/detail/parameter.hpp>
#include <prong/detail/pledges.hpp>
#include <prong/detail/task_type.hpp>
#include <prong/this_task.hpp>

#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <span>
#include <stdexcept>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

/// \file
/// From a callable and arguments to a task, and from its bytes to the call. Nothing here knows of
/// pools or processes.

namespace prong::detail {

// ---- the callable -------------------------------------------------------------------------------

/// How the callable `F` (a decayed type) travels. A function pointer travels by its value, which is
/// good in the fork family only; a stateless object does not travel at all.
template <class F>
struct CallableCodec {
    /// Appends the callable. Throws `std::invalid_argument` for a null pointer.
    static void encode(Writer& writer, const F& callable) {
        if constexpr (std::is_pointer_v<F> || std::is_member_pointer_v<F>) {
            if (callable == nullptr)
                throw std::invalid_argument("prong: the function pointer of a task is null");
            encode_bitwise(writer, callable);
        } else if constexpr (!std::is_empty_v<F>) {
            detail::encode(writer, callable);
        }
    }

    static F decode(Reader& reader) {
        if constexpr (!std::is_empty_v<F>) {
            return detail::decode<F>(reader);
        } else {
            return make_stateless<F>();
        }
    }

    /// Compiles only if the callable can travel; else the compiler says why not.
    static consteval bool require() {
        if constexpr (FunctionPointer<F> || std::is_member_pointer_v<F>) {
            return true;
        } else if constexpr (std::is_class_v<F> && std::is_empty_v<F>) {
            static_assert(Stateless<F>,
                          "prong: a stateless function object needs a default constructor");
            return true;
        } else {
            return require_transferable<F>();
        }
    }
};

template <class F>
struct CallableCodec<WithCaptures<F>> {
    static void encode(Writer& writer, const WithCaptures<F>& marked) {
        writer.check_captures(std::as_bytes(std::span(std::addressof(marked.callable), 1)));
        std::memcpy(writer.reserve(sizeof(F)), std::addressof(marked.callable), sizeof(F));
    }
    static F decode(Reader& reader) {
        std::array<std::byte, sizeof(F)> bytes;
        reader.read(bytes.data(), sizeof(F));
        return std::bit_cast<F>(bytes);
    }
    static consteval bool require() { return std::is_trivially_copyable_v<F>; }
};

/// The callable as it is in the worker.
template <class F>
using StoredCallable = decltype(CallableCodec<F>::decode(std::declval<Reader&>()));

// ---- the call -----------------------------------------------------------------------------------

/// Brings together what the callable declares and what it is given (`Args` without reference and
/// const). `Parameters` is a list of `Parameter`s.
template <class Declared, class... Args>
struct Binding {
    static constexpr Misfit misfit = Misfit::count;
    using Parameters = Types<>;
};
template <class R, class... Ps, class... Args>
    requires(sizeof...(Ps) == sizeof...(Args))
struct Binding<Signature<R, Ps...>, Args...> {
    static constexpr Misfit misfit = [] {
        Misfit first = Misfit::none;
        static_cast<void>(((first = misfit_of<Ps, Args>(), first != Misfit::none) || ...));
        return first;
    }();
    using Parameters = Types<Parameter<Ps, typename WireValue<Ps, Args>::type>...>;
};
// The task's own stop token is not among what it is given.
template <class R, StopToken Token, class... Ps, class... Args>
    requires(sizeof...(Ps) == sizeof...(Args))
struct Binding<Signature<R, Token, Ps...>, Args...> : Binding<Signature<R, Ps...>, Args...> {};
template <class R, class Class, bool IsRvalue, StopToken Token, class... Ps, class... Args>
    requires(1 + sizeof...(Ps) == sizeof...(Args))
struct Binding<Signature<R, ObjectParameter<Class, IsRvalue>, Token, Ps...>, Args...>
    : Binding<Signature<R, ObjectParameter<Class, IsRvalue>, Ps...>, Args...> {};
template <class... Args>
struct Binding<NoSignature, Args...>
    : Binding<Signature<void, std::conditional_t<true, Undeclared, Args>...>, Args...> {};

/// What a call gives, as a value; `void` if it cannot be called so.
template <class F, class Declared, class Parameters>
struct CallResult;
template <class F, class R, class... Ps, class Parameters>
struct CallResult<F, Signature<R, Ps...>, Parameters> {
    using type = std::decay_t<R>;
};
template <class F, class... Ps>
struct CallResult<F, NoSignature, Types<Ps...>> {
    using type = void;
};
template <class F, class... Ps>
    requires std::is_invocable_v<F&, decltype(Ps::pass(std::declval<typename Ps::Held&>()))...>
struct CallResult<F, NoSignature, Types<Ps...>> {
    using type = std::decay_t<
        std::invoke_result_t<F&, decltype(Ps::pass(std::declval<typename Ps::Held&>()))...>>;
};

/// Calls with the task's own stop token as the first argument, behind the object that a member
/// function is called on.
template <class F, class... Args>
decltype(auto) invoke_with_stop_token(F& callable, Args&&... args) {
    if constexpr (std::is_member_function_pointer_v<F>) {
        return [&](auto&& object, auto&&... others) -> decltype(auto) {
            return std::invoke(callable, std::forward<decltype(object)>(object),
                               this_task::stop_token(), std::forward<decltype(others)>(others)...);
        }(std::forward<Args>(args)...);
    } else {
        return std::invoke(callable, this_task::stop_token(), std::forward<Args>(args)...);
    }
}

/// A call of the callable `F` with such parameters; what a worker does.
template <class F, class R, class Parameters>
struct Call;
template <class F, class R, class... Ps>
struct Call<F, R, Types<Ps...>> {
    using Result = R;
    using Callable = StoredCallable<F>;
    /// The arguments as they are in the worker. Views among them look into the encoded bytes.
    using Arguments = std::tuple<typename Ps::Held...>;

    static constexpr bool takes_own_stop_token =
        SignatureOf<F>::type::parameter_count == sizeof...(Ps) + 1;

    template <class... Args>
    static void encode_arguments(Writer& writer, const Args&... arguments) {
        (Ps::encode(writer, arguments), ...);
    }

    static Arguments decode_arguments(Reader& reader) {
        return Arguments{Ps::decode(reader)...}; // braces: from the first to the last
    }

    /// Calls once; what is passed by value is moved out of `arguments`.
    static R invoke(Callable& callable, Arguments& arguments) {
        return [&]<std::size_t... Index>(std::index_sequence<Index...>) -> R {
            if constexpr (takes_own_stop_token) {
                return static_cast<R>(
                    invoke_with_stop_token(callable, Ps::pass(std::get<Index>(arguments))...));
            } else {
                return static_cast<R>(
                    std::invoke(callable, Ps::pass(std::get<Index>(arguments))...));
            }
        }(std::index_sequence_for<Ps...>{});
    }

    /// Is `F` really callable so?
    static constexpr bool is_invocable =
        takes_own_stop_token ||
        std::is_invocable_v<Callable&, decltype(Ps::pass(std::declval<typename Ps::Held&>()))...>;

    static consteval bool require_parameters() {
        return (... && []<class P>() {
            if constexpr (ViewParameter<typename P::Held>) {
                return true;
            } else {
                return require_transferable<typename P::Held>();
            }
        }.template operator()<Ps>());
    }
};

template <class F, class... Args>
using BindingOf =
    Binding<typename SignatureOf<std::decay_t<F>>::type, std::remove_cvref_t<Args>...>;

} // namespace prong::detail

namespace prong {

/// The result of `f(args...)` as a task: its value type, or `void`. (`void` also for a call that
/// `submit` refuses, so that the refusal is the only error.)
template <class F, class... Args>
using task_result_t =
    typename detail::CallResult<detail::StoredCallable<std::decay_t<F>>,
                                typename detail::SignatureOf<std::decay_t<F>>::type,
                                typename detail::BindingOf<F, Args...>::Parameters>::type;

} // namespace prong

namespace prong::detail {

/// The call of `f(args...)`: how its parts are encoded, decoded and put together.
template <class F, class... Args>
using TaskCall =
    Call<std::decay_t<F>, task_result_t<F, Args...>, typename BindingOf<F, Args...>::Parameters>;

/// Compiles only if `R` can be the result of a task; else the compiler says why not.
template <class R>
consteval bool require_result() {
    static_assert(!FunctionPointer<R>,
                  "prong: a function pointer cannot be the result of a task: return something that "
                  "names the function");
    if constexpr (std::is_void_v<R> || FunctionPointer<R>) {
        return std::is_void_v<R>;
    } else {
        return require_transferable<R>();
    }
}

/// Compiles only if the arguments fit the parameters; else the compiler says why not.
template <Misfit misfit>
consteval bool require_fit() {
    static_assert(misfit != Misfit::count,
                  "prong: the number of arguments is not the number of the callable's "
                  "parameters (default arguments do not count)");
    static_assert(misfit != Misfit::conversion,
                  "prong: an argument cannot be converted to the type of its parameter");
    static_assert(misfit != Misfit::mutable_reference,
                  "prong: a parameter that is a non-const reference would change a copy in "
                  "another process: take it by value and return what has changed");
    static_assert(misfit != Misfit::stop_token,
                  "prong: a std::stop_token does not reach another process: leave it out, and "
                  "a task whose first parameter it is gets its own, which "
                  "Future::request_stop and timeouts stop");
    static_assert(misfit != Misfit::mutable_span,
                  "prong: a std::span<T> would change a copy in another process: take a "
                  "std::span<const T> and return what has changed");
    static_assert(misfit != Misfit::span_element,
                  "prong: the elements of a std::span<const T> parameter must be trivially "
                  "copyable without pointers, and aligned to at most 16 bytes: take a const "
                  "std::vector<T>& instead");
    return misfit == Misfit::none;
}

/// Compiles only if `f(args...)` can be called in another process; else the compiler says why not.
template <class F, class... Args>
consteval bool require_call() {
    using Function = std::decay_t<F>;
    constexpr Misfit misfit = BindingOf<F, Args...>::misfit;
    if constexpr (!CallableCodec<Function>::require()) {
        return false;
    } else if constexpr (!require_fit<misfit>() || !require_passed_on<Args...>()) {
        return false;
    } else if constexpr (!TaskCall<F, Args...>::require_parameters()) {
        return false;
    } else if constexpr (!TaskCall<F, Args...>::is_invocable) {
        static_assert(misfit != Misfit::none,
                      "prong: the callable cannot be called with copies of these arguments (they "
                      "are passed to it as rvalues)");
        return false;
    } else {
        return true;
    }
}

/// The same for a call whose result comes back.
template <class F, class... Args>
consteval bool require_task() {
    if constexpr (require_call<F, Args...>()) {
        return require_result<task_result_t<F, Args...>>();
    } else {
        return false;
    }
}

// ---- the task -----------------------------------------------------------------------------------

/// What is behind a `TaskType`.
template <class F, class TheCall>
struct TaskFunctions {
    static constexpr bool begins_with_address =
        FunctionPointer<F> || std::is_member_function_pointer_v<F>;
    static constexpr bool returns_parcels = holds_parcels<typename TheCall::Result>();

    static void run(Reader& arguments, Writer& result) {
        if constexpr (std::is_void_v<typename TheCall::Result>) {
            call(arguments);
        } else {
            // The arguments are gone when the result is encoded: large ones are not held twice.
            const typename TheCall::Result value = call(arguments);
            end_copy_of_worker(0);
            encode(result, value);
            if constexpr (returns_parcels) write_pledges(result);
        }
    }

    static std::string name(Reader arguments) {
        if constexpr (begins_with_address) {
            // A pointer to a member function begins with the function's address too, or with an odd
            // number if the function is virtual (Itanium C++ ABI, 2.3).
            std::uintptr_t address = 0;
            if (arguments.remaining() >= sizeof address) arguments.read(&address, sizeof address);
            const bool is_virtual = !FunctionPointer<F> && address % 2 != 0;
            if (address == 0 || is_virtual) return type_name(typeid(F));
            return function_name(std::bit_cast<const void*>(address));
        } else {
            return type_name(typeid(typename TheCall::Callable));
        }
    }

    static constexpr TaskType type{&run, &name, begins_with_address, returns_parcels};

private:
    static typename TheCall::Result call(Reader& reader) {
        auto callable = CallableCodec<F>::decode(reader);
        auto arguments = TheCall::decode_arguments(reader);
        return TheCall::invoke(callable, arguments);
    }
};

/// The one constant object for calls of such a callable with such arguments.
template <class F, class... Args>
const TaskType& task_type() {
    if constexpr (require_task<F, Args...>()) {
        return TaskFunctions<std::decay_t<F>, TaskCall<F, Args...>>::type;
    } else {
        static constexpr TaskType refused{};
        return refused;
    }
}

/// The same for a call whose result is dropped.
template <class F, class... Args>
const TaskType& procedure_type() {
    if constexpr (require_call<F, Args...>()) {
        using Procedure = Call<std::decay_t<F>, void, typename BindingOf<F, Args...>::Parameters>;
        return TaskFunctions<std::decay_t<F>, Procedure>::type;
    } else {
        static constexpr TaskType refused{};
        return refused;
    }
}

/// Appends what `task_type<F, Args...>().run` reads: the callable and its arguments, converted to
/// what it declares. Copies from the arguments, never moves. Throws what `encode` throws, and
/// `std::invalid_argument` for a null function pointer.
template <class F, class... Args>
void encode_call(Writer& writer, F&& f, Args&&... args) {
    if constexpr (require_call<F, Args...>()) {
        using Function = std::decay_t<F>;
        if constexpr (std::is_function_v<std::remove_reference_t<F>>) {
            CallableCodec<Function>::encode(writer, &f);
        } else {
            CallableCodec<Function>::encode(writer, f);
        }
        TaskCall<F, Args...>::encode_arguments(writer, args...);
    }
}

/// The same for a task.
template <class F, class... Args>
void encode_task(Writer& writer, F&& f, Args&&... args) {
    if constexpr (require_task<F, Args...>()) {
        encode_call(writer, std::forward<F>(f), std::forward<Args>(args)...);
    }
}

} // namespace prong::detail
