#pragma once

#include <prong/detail/code_place.hpp>
#include <prong/detail/export.hpp>
#include <prong/detail/task.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

/// \file
/// Calls of objects in a manager's process: how they travel, and what the manager does.

namespace prong::detail {

/// What a manager must know to make one kind of object, or for one kind of call: one constant
/// object for each. Where it is in the program is what travels to the manager.
struct Operation {
    static constexpr std::uint64_t operation_mark = 0x7d1c'93e6'0b5a'f248;

    std::uint64_t mark;         ///< tells an operation from other bytes
    const std::type_info* type; ///< of the object
    /// Decodes the arguments and makes the object; null for a call.
    std::shared_ptr<void> (*make)(Reader& arguments);
    /// Decodes the arguments, calls while it holds the object's mutex, and encodes the result.
    void (*call)(void* object, std::mutex& mutex, Reader& arguments, Writer& result);
};

/// How processes reach a manager.
struct ManagerAddress {
    std::string address;
    std::string authkey;

    friend bool operator==(const ManagerAddress&, const ManagerAddress&) = default;
};

/// Names an object of a manager in every process.
struct RemoteObject {
    /// The object that maps the names that programs have given to objects; every manager has one.
    static constexpr std::uint64_t directory = 1;

    ManagerAddress manager;
    std::uint64_t id; ///< no other object of the manager has it, now or later; 0: none

    friend bool operator==(const RemoteObject&, const RemoteObject&) = default;
};

/// The encoded result of a call.
class Reply {
public:
    explicit Reply(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

    /// Returns a reader of what follows the status.
    [[nodiscard]] Reader reader() const {
        Reader reader{bytes_};
        static_cast<void>(detail::decode<bool>(reader));
        return reader;
    }

private:
    std::vector<std::byte> bytes_;
};

/// Sends a request, and waits for the reply. Throws what the call has thrown; `ManagerDied`.
PRONG_API Reply call_manager(const ManagerAddress& manager, std::span<const std::byte> request);

// ---- the callable -------------------------------------------------------------------------------

/// Appends a callable. A pointer to a function travels as the function's place.
template <class F>
void encode_callable(Writer& writer, const F& callable) {
    if constexpr (FunctionPointer<F>) {
        if (callable == nullptr) throw std::invalid_argument("prong: the function pointer is null");
        detail::encode(writer, place_of(reinterpret_cast<const void*>(callable)));
    } else if constexpr (std::is_member_function_pointer_v<F>) {
        if (callable == nullptr) throw std::invalid_argument("prong: the member pointer is null");
        // The function's address, or a small number if it is virtual, which is in no module; then
        // the offset of the object (Itanium C++ ABI, 2.3).
        const auto words = std::bit_cast<std::array<std::uintptr_t, 2>>(callable);
        detail::encode(writer, place_of(reinterpret_cast<const void*>(words[0])));
        detail::encode(writer, words[1]);
    } else {
        CallableCodec<F>::encode(writer, callable);
    }
}

template <class F>
StoredCallable<F> decode_callable(Reader& reader) {
    if constexpr (FunctionPointer<F> || std::is_member_function_pointer_v<F>) {
        const auto place = detail::decode<CodePlace>(reader);
        const auto address = reinterpret_cast<std::uintptr_t>(at_place(place, 1));
        if (address == 0) throw CodecError("the manager's process does not have the function");
        if constexpr (FunctionPointer<F>) {
            return std::bit_cast<F>(address);
        } else {
            const auto offset = detail::decode<std::uintptr_t>(reader);
            return std::bit_cast<F>(std::array{address, offset});
        }
    } else {
        return CallableCodec<F>::decode(reader);
    }
}

// ---- the call -----------------------------------------------------------------------------------

/// What a callable declares behind its first parameter, which is the object.
template <class Declared>
struct BehindObject {
    using type = NoSignature;
};
template <class R, class Object, class... Ps>
struct BehindObject<Signature<R, Object, Ps...>> {
    using type = Signature<R, Ps...>;
};

/// A call of `f(object, args...)` in the manager's process.
template <class T, class F, class... Args>
struct ObjectCall {
    using Function = std::decay_t<F>;
    using Declared = typename BehindObject<typename SignatureOf<Function>::type>::type;
    using Bound = Binding<Declared, std::remove_cvref_t<Args>...>;
    using Result = typename CallResult<Function, Declared, typename Bound::Parameters>::type;
    using Parts = Call<Function, Result, typename Bound::Parameters>;

    /// Compiles only if the call is possible; else the compiler says why not.
    static consteval bool require() {
        static_assert(!std::same_as<Declared, NoSignature>,
                      "prong: the callable must declare its parameters, the object first: "
                      "a member function, a function, or a lambda without auto");
        return CallableCodec<Function>::require() && require_fit<Bound::misfit>() &&
               Parts::require_parameters() && require_result<Result>();
    }

    static void run(void* object, std::mutex& mutex, Reader& reader, Writer& writer) {
        auto callable = decode_callable<Function>(reader);
        auto arguments = Parts::decode_arguments(reader);
        const auto call = [&]() -> Result {
            const std::scoped_lock guard(mutex);
            return invoke(callable, *static_cast<T*>(object), arguments,
                          typename Bound::Parameters{});
        };
        if constexpr (std::is_void_v<Result>) {
            call();
        } else {
            detail::encode(writer, call());
        }
    }

    static constexpr Operation operation{Operation::operation_mark, &typeid(T), nullptr, &run};

private:
    template <class... Ps>
    static Result invoke(auto& callable, T& object, auto& arguments, Types<Ps...>) {
        return std::apply(
            [&](auto&... held) {
                return static_cast<Result>(std::invoke(callable, object, Ps::pass(held)...));
            },
            arguments);
    }
};

/// Construction of a `T` in the manager's process.
template <class T, class... Args>
struct ObjectMaker {
    using Bound = Binding<NoSignature, std::remove_cvref_t<Args>...>;
    using Parts = Call<T, void, typename Bound::Parameters>;

    static std::shared_ptr<void> run(Reader& reader) {
        auto arguments = [&]<class... Ps>(Types<Ps...>) {
            return std::tuple<typename Ps::Held...>{Ps::decode(reader)...};
        }(typename Bound::Parameters{});
        return std::apply([](auto&... held) { return std::make_shared<T>(std::move(held)...); },
                          arguments);
    }

    template <class... Ps>
    static void encode_arguments(Writer& writer, Types<Ps...>, const auto&... arguments) {
        (Ps::encode(writer, arguments), ...);
    }

    static constexpr Operation operation{Operation::operation_mark, &typeid(T), &run, nullptr};
};

/// Begins a request.
inline void encode_operation(Writer& writer, const Operation& operation, std::uint64_t object) {
    detail::encode(writer, place_of(&operation));
    detail::encode(writer, object);
}

/// Makes a `T` in the manager's process.
template <class T, class... Args>
RemoteObject make_object(const ManagerAddress& manager, const Args&... args) {
    using Maker = ObjectMaker<T, Args...>;
    MessageWriter writer;
    encode_operation(writer, Maker::operation, 0);
    Maker::encode_arguments(writer, typename Maker::Bound::Parameters{}, args...);
    const Reply reply = call_manager(manager, writer.bytes());
    writer.post();
    Reader reader = reply.reader();
    return {manager, detail::decode<std::uint64_t>(reader)};
}

/// Calls `f(object, args...)` in the manager's process.
template <class T, class F, class... Args>
auto call_object(const RemoteObject& object, const F& f, const Args&... args) ->
    typename ObjectCall<T, F, Args...>::Result {
    using TheCall = ObjectCall<T, F, Args...>;
    if constexpr (TheCall::require()) {
        MessageWriter writer;
        encode_operation(writer, TheCall::operation, object.id);
        encode_callable<typename TheCall::Function>(writer, f);
        TheCall::Parts::encode_arguments(writer, args...);
        const Reply reply = call_manager(object.manager, writer.bytes());
        writer.post();
        if constexpr (!std::is_void_v<typename TheCall::Result>) {
            Reader reader = reply.reader();
            return detail::decode<typename TheCall::Result>(reader);
        }
    }
}

} // namespace prong::detail
