#include "codec/exception_types.hpp"

#include "os/modules.hpp"

#include <prong/error.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <any>
#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <regex>
#include <stdexcept>
#include <system_error>
#include <typeinfo>
#include <variant>
#include <version>
#ifdef __cpp_lib_format
#include <format>
#endif

namespace prong::detail {
namespace {

/// A type that the user has registered. Its pointers into a module are followed only after a check
/// that the module is still loaded.
class RegisteredType {
public:
    explicit RegisteredType(const ExceptionType& type)
        // NOLINTNEXTLINE(bugprone-throw-keyword-missing): no exception, in spite of its name
        : type_(type), mangled_name_(type.type->name()), modules_(modules()) {}

    [[nodiscard]] const ExceptionType& get() const { return type_; }

    /// Returns whether the type has this name and its code is still loaded.
    [[nodiscard]] bool is(std::string_view mangled_name) const {
        return mangled_name_ == mangled_name && modules_ == modules();
    }

    const RegisteredType* next = nullptr;

private:
    [[nodiscard]] std::array<std::uint64_t, 3> modules() const {
        return {os::module_identity(type_.type),
                os::module_identity(reinterpret_cast<const void*>(type_.encode)),
                os::module_identity(reinterpret_cast<const void*>(type_.decode))};
    }

    ExceptionType type_;
    std::string mangled_name_;
    std::array<std::uint64_t, 3> modules_; ///< at the time of the registration
};

/// Newest first. Only ever grows, so that reading needs no lock.
constinit std::atomic<const RegisteredType*> registered_types{nullptr};

template <class Predicate>
const ExceptionType* find_registered(Predicate matches) {
    // Acquire: an entry that is found is complete.
    const RegisteredType* entry = registered_types.load(std::memory_order_acquire);
    while (entry != nullptr && !matches(*entry)) entry = entry->next;
    return entry != nullptr ? &entry->get() : nullptr;
}

} // namespace

void add_exception_type(const ExceptionType& type) noexcept {
    const auto is_same = [&](const RegisteredType& known) {
        return known.get() == type && known.is(type.type->name());
    };
    if (find_registered(is_same) != nullptr) return;
    try {
        auto* const entry = new RegisteredType(type);
        entry->next = registered_types.load(std::memory_order_relaxed);
        while (!registered_types.compare_exchange_weak(
            entry->next, entry, std::memory_order_release, std::memory_order_relaxed)) {
        }
    } catch (const std::bad_alloc&) { // its exceptions arrive as `RemoteError`
    }
}

} // namespace prong::detail

namespace prong::codec {
namespace {

using detail::decode;
using detail::encode;
using detail::ExceptionCodec;
using detail::ExceptionContext;
using detail::ExceptionType;
using detail::make_exception;
using detail::Reader;
using detail::Writer;

/// Calls `visit` with the exception that is being handled.
template <class E, class Visit>
auto with_current(Visit visit) {
    try {
        throw;
    } catch (const E& error) {
        return visit(error);
    }
}

// ---- exceptions that cannot be given a text -----------------------------------------------------

/// An `E` with the text that an `E` of another process had.
template <class E>
class WithText : public E {
public:
    WithText(const E& error, std::string text) : E(error), text_(std::move(text)) {}
    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

private:
    std::string text_;
};

template <class E>
std::exception_ptr make_with_text(const E& error, const std::string& text,
                                  const ExceptionContext& context) {
    if (error.what() == text) return make_exception(error, context);
    return make_exception(WithText<E>(error, text), context);
}

/// For types such as `std::bad_alloc`, which usually have the text of their default constructor.
template <class E>
struct FixedTextCodec {
    static bool encode(Writer&) { return true; }
    static std::exception_ptr decode(Reader&, const std::string& what,
                                     const ExceptionContext& context) {
        return make_with_text(E(), what, context);
    }
};

struct RegexErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<std::regex_error>([&](const std::regex_error& error) {
            detail::encode(writer, static_cast<int>(error.code()));
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what,
                                     const ExceptionContext& context) {
        const int code = detail::decode<int>(reader);
        if (code < 0 || code > std::regex_constants::error_stack)
            throw CodecError("the encoded std::regex_error has an unknown code");
        return make_with_text(std::regex_error(static_cast<std::regex_constants::error_type>(code)),
                              what, context);
    }
};

// ---- exceptions with an error code --------------------------------------------------------------

/// Returns the error categories that every process has; others are objects of one process.
std::array<const std::error_category*, 4> known_categories() {
    return {&std::generic_category(), &std::system_category(), &std::iostream_category(),
            &std::future_category()};
}

bool encode_code(Writer& writer, const std::error_code& code) {
    std::uint8_t index = 0;
    for (const std::error_category* category : known_categories()) {
        if (*category == code.category()) {
            encode(writer, index);
            encode(writer, code.value());
            return true;
        }
        ++index;
    }
    return false;
}

std::error_code decode_code(Reader& reader) {
    const auto index = decode<std::uint8_t>(reader);
    const auto value = decode<int>(reader);
    const auto categories = known_categories();
    if (index >= categories.size())
        throw CodecError("the encoded error code has an unknown category");
    return {value, *categories[index]};
}

/// Returns the text that a `std::system_error` was constructed with: `what()` without the code's
/// message, which the constructor appends. Calls this class's `what()`, not an override.
std::string given_text(const std::system_error& error) {
    std::string text = error.std::system_error::what();
    const std::string appended = ": " + error.code().message();
    if (text.ends_with(appended)) text.resize(text.size() - appended.size());
    return text;
}

/// For `std::system_error` and similar types, which are made from a text and a code, or from a
/// code.
template <class E>
struct SystemErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<E>([&](const E& error) {
            detail::encode(writer, given_text(error));
            return encode_code(writer, error.code());
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what,
                                     const ExceptionContext& context) {
        const auto text = detail::decode<std::string>(reader);
        const std::error_code code = decode_code(reader);
        if constexpr (std::is_constructible_v<E, const std::error_code&>) {
            if (what == code.message()) return make_exception(E(code), context);
        }
        if constexpr (std::is_constructible_v<E, const std::string&, const std::error_code&>) {
            return make_exception(E(text, code), context);
        } else {
            return make_exception(E(code, text), context);
        }
    }
};

struct FilesystemErrorCodec {
    using E = std::filesystem::filesystem_error;
    static bool encode(Writer& writer) {
        return with_current<E>([&](const E& error) {
            detail::encode(writer, given_text(error));
            detail::encode(writer, error.path1());
            detail::encode(writer, error.path2());
            return encode_code(writer, error.code());
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string&,
                                     const ExceptionContext& context) {
        const auto text = detail::decode<std::string>(reader);
        const auto path1 = detail::decode<std::filesystem::path>(reader);
        const auto path2 = detail::decode<std::filesystem::path>(reader);
        const std::error_code code = decode_code(reader);
        // The number of paths shows in what().
        if (path1.empty() && path2.empty()) return make_exception(E(text, code), context);
        if (path2.empty()) return make_exception(E(text, path1, code), context);
        return make_exception(E(text, path1, path2, code), context);
    }
};

struct FutureErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<std::future_error>([&](const std::future_error& error) {
            detail::encode(writer, error.code().value());
            return error.code().category() == std::future_category();
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string&,
                                     const ExceptionContext& context) {
        const auto code = static_cast<std::future_errc>(detail::decode<int>(reader));
        return make_exception(std::future_error(code), context);
    }
};

// ---- prong's own --------------------------------------------------------------------------------

void encode_death(Writer& writer, const Death& death) {
    encode(writer, death.pid);
    encode(writer, death.exitcode);
    encode(writer, death.out_of_memory);
    encode(writer, std::uint64_t{death.frames.size()});
    for (const void* frame : death.frames) encode(writer, reinterpret_cast<std::uint64_t>(frame));
    encode(writer, death.last_output);
}

Death decode_death(Reader& reader) {
    Death death;
    death.pid = decode<int>(reader);
    death.exitcode = decode<int>(reader);
    if (death.exitcode < -NSIG)
        throw CodecError("the encoded death of a worker names an unknown signal");
    death.out_of_memory = decode<bool>(reader);
    for (auto left = decode<std::uint64_t>(reader); left != 0; --left)
        death.frames.push_back(reinterpret_cast<const void*>(decode<std::uint64_t>(reader)));
    death.last_output = decode<std::string>(reader);
    return death;
}

struct WorkerDiedCodec {
    static bool encode(Writer& writer) {
        return with_current<WorkerDied>([&](const WorkerDied& error) {
            encode_death(writer, error.death());
            detail::encode(writer, error.task());
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string&,
                                     const ExceptionContext& context) {
        Death death = decode_death(reader);
        return make_exception(WorkerDied(std::move(death), detail::decode<std::string>(reader)),
                              context);
    }
};

struct PoisonedTaskCodec {
    static bool encode(Writer& writer) {
        return with_current<PoisonedTask>([&](const PoisonedTask& error) {
            detail::encode(writer, error.attempts());
            detail::encode(writer, error.task());
            for (const Death& death : error.deaths()) encode_death(writer, death);
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string&,
                                     const ExceptionContext& context) {
        const auto attempts = detail::decode<int>(reader);
        const auto task = detail::decode<std::string>(reader);
        std::vector<Death> deaths;
        while (reader.remaining() != 0) deaths.push_back(decode_death(reader));
        return make_exception(PoisonedTask(std::move(deaths), attempts, task), context);
    }
};

struct TaskTimeoutCodec {
    static bool encode(Writer& writer) {
        return with_current<TaskTimeout>([&](const TaskTimeout& error) {
            detail::encode(writer, error.last_output());
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what,
                                     const ExceptionContext& context) {
        return make_exception(TaskTimeout(what, detail::decode<std::string>(reader)), context);
    }
};

struct LimitExceededCodec {
    static bool encode(Writer& writer) {
        return with_current<LimitExceeded>([&](const LimitExceeded& error) {
            detail::encode(writer, error.kind());
            detail::encode(writer, error.allowed());
            detail::encode(writer, error.used());
            detail::encode(writer, error.last_output());
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what,
                                     const ExceptionContext& context) {
        const auto kind = detail::decode<LimitKind>(reader);
        const auto allowed = detail::decode<std::uint64_t>(reader);
        const auto used = detail::decode<std::uint64_t>(reader);
        return make_exception(
            LimitExceeded(kind, what, allowed, used, detail::decode<std::string>(reader)), context);
    }
};

struct BrokenBarrierCodec {
    static bool encode(Writer& writer) {
        return with_current<BrokenBarrier>([&](const BrokenBarrier& error) {
            detail::encode(writer, error.who());
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what,
                                     const ExceptionContext& context) {
        return make_exception(BrokenBarrier(what, detail::decode<DeadHolder>(reader)), context);
    }
};

struct RemoteErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<RemoteError>([&](const RemoteError& error) {
            detail::encode(writer, error.type_name());
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what,
                                     const ExceptionContext& context) {
        return make_exception(RemoteError(detail::decode<std::string>(reader), what), context);
    }
};

// ---- the table ----------------------------------------------------------------------------------

template <class E, class Codec = ExceptionCodec<E>>
constexpr ExceptionType by{&typeid(E), &Codec::encode, &Codec::decode};

template <class E>
constexpr ExceptionType fixed = by<E, FixedTextCodec<E>>;
/// The type that an `E` with another text arrives as: it may be sent on.
template <class E, class Codec = FixedTextCodec<E>>
constexpr ExceptionType with_text = by<WithText<E>, Codec>;

constexpr const ExceptionType& failure_of_stream =
    by<std::ios_base::failure, SystemErrorCodec<std::ios_base::failure>>;

/// A constant, so that it exists before any object of the user.
constexpr ExceptionType known_types[] = {
    by<std::logic_error>,
    by<std::invalid_argument>,
    by<std::domain_error>,
    by<std::length_error>,
    by<std::out_of_range>,
    by<std::runtime_error>,
    by<std::range_error>,
    by<std::overflow_error>,
    by<std::underflow_error>,
#ifdef __cpp_lib_format
    by<std::format_error>,
#endif
    fixed<std::exception>,
    with_text<std::exception>,
    fixed<std::bad_exception>,
    with_text<std::bad_exception>,
    fixed<std::bad_alloc>,
    with_text<std::bad_alloc>,
    fixed<std::bad_array_new_length>,
    with_text<std::bad_array_new_length>,
    fixed<std::bad_cast>,
    with_text<std::bad_cast>,
    fixed<std::bad_any_cast>,
    with_text<std::bad_any_cast>,
    fixed<std::bad_typeid>,
    with_text<std::bad_typeid>,
    fixed<std::bad_function_call>,
    with_text<std::bad_function_call>,
    fixed<std::bad_optional_access>,
    with_text<std::bad_optional_access>,
    fixed<std::bad_variant_access>,
    with_text<std::bad_variant_access>,
    fixed<std::bad_weak_ptr>,
    with_text<std::bad_weak_ptr>,
    by<std::regex_error, RegexErrorCodec>,
    with_text<std::regex_error, RegexErrorCodec>,
    by<std::system_error, SystemErrorCodec<std::system_error>>,
    by<std::filesystem::filesystem_error, FilesystemErrorCodec>,
    by<std::future_error, FutureErrorCodec>,
    failure_of_stream,
    by<Error>,
    by<BrokenProcessPool>,
    by<CancelledError>,
    by<TimeoutError>,
    by<PoolShutdown>,
    by<CodecError>,
    by<EndOfFile>,
    by<ObjectGone>,
    by<QueueClosed>,
    by<BrokenBarrier, BrokenBarrierCodec>,
    by<WorkerDied, WorkerDiedCodec>,
    by<PoisonedTask, PoisonedTaskCodec>,
    by<TaskTimeout, TaskTimeoutCodec>,
    by<LimitExceeded, LimitExceededCodec>,
    by<RemoteError, RemoteErrorCodec>,
};

/// Returns the type that streams throw: a class of the standard library derived from
/// `std::ios_base::failure`.
const std::type_info& type_that_streams_throw() {
    // Not a static variable of the function: a fork could leave its guard locked.
    static constinit std::atomic<const std::type_info*> known{nullptr};
    if (const std::type_info* const type = known.load()) return *type;
    try {
        std::ios stream(nullptr);
        stream.exceptions(std::ios::badbit); // throws: a stream without a buffer is bad
    } catch (...) {
        known.store(abi::__cxa_current_exception_type());
        return *known.load();
    }
    return typeid(std::ios_base::failure);
}

/// Returns the first entry of the table that matches, or null.
template <class Predicate>
const ExceptionType* find_in_table(Predicate matches) {
    const auto* const found = std::ranges::find_if(known_types, matches);
    return found != std::end(known_types) ? found : nullptr;
}

} // namespace

const ExceptionType* find_exception_type(const std::type_info& type) {
    if (const auto* const known = find_in_table([&](auto& entry) { return *entry.type == type; }))
        return known;
    const auto matches = [&](const detail::RegisteredType& entry) {
        return entry.is(type.name()) && *entry.get().type == type;
    };
    if (const auto* const registered = detail::find_registered(matches)) return registered;
    return type == type_that_streams_throw() ? &failure_of_stream : nullptr;
}

const ExceptionType* find_exception_type(std::string_view mangled_name) {
    const auto* const known =
        find_in_table([&](auto& entry) { return entry.type->name() == mangled_name; });
    if (known != nullptr) return known;
    return detail::find_registered([&](auto& entry) { return entry.is(mangled_name); });
}

} // namespace prong::codec
