#include "codec/exception_types.hpp"

#include <prong/detail/names.hpp>
#include <prong/error.hpp>

#include <cxxabi.h>

#include <any>
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

/// The types that are known, newest first. Only ever grows, so that reading needs no lock.
constinit std::atomic<const ExceptionType*> known_types{nullptr};

} // namespace

void add_exception_type(ExceptionType& type) noexcept {
    if (type.is_added.test_and_set(std::memory_order_relaxed)) return;
    type.next = known_types.load(std::memory_order_relaxed);
    // Release: whoever finds the entry (acquire, in find_if) finds it complete.
    while (!known_types.compare_exchange_weak(type.next, &type, std::memory_order_release,
                                              std::memory_order_relaxed)) {
    }
}

} // namespace prong::detail

namespace prong::codec {
namespace {

using detail::add_exception;
using detail::decode;
using detail::encode;
using detail::ExceptionCodec;
using detail::ExceptionType;
using detail::make_exception;
using detail::Reader;
using detail::Writer;

template <class Predicate>
const ExceptionType* find_if(Predicate matches) {
    const ExceptionType* entry = detail::known_types.load(std::memory_order_acquire);
    while (entry != nullptr && !matches(*entry)) entry = entry->next;
    return entry;
}

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

/// An `E` that says what another process's `E` said.
template <class E>
class WithText : public E {
public:
    WithText(const E& error, std::string text) : E(error), text_(std::move(text)) {}
    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

private:
    std::string text_;
};

template <class E>
std::exception_ptr make_with_text(const E& error, const std::string& text, bool has_nested) {
    if (error.what() == text) return make_exception(error, has_nested);
    return make_exception(WithText<E>(error, text), has_nested);
}

/// For types such as `std::bad_alloc`, whose text usually is that of their default constructor.
template <class E>
struct FixedTextCodec {
    static bool encode(Writer&) { return true; }
    static std::exception_ptr decode(Reader&, const std::string& what, bool has_nested) {
        return make_with_text(E(), what, has_nested);
    }
};

struct RegexErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<std::regex_error>([&](const std::regex_error& error) {
            detail::encode(writer, static_cast<int>(error.code()));
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what, bool has_nested) {
        const int code = detail::decode<int>(reader);
        if (code < 0 || code > std::regex_constants::error_stack)
            throw CodecError("a regular expression's error that does not exist");
        return make_with_text(std::regex_error(static_cast<std::regex_constants::error_type>(code)),
                              what, has_nested);
    }
};

/// Adds `E`, and what `E` comes back as if its text is another: it may be sent on.
template <class E, class Codec = FixedTextCodec<E>>
void add_with_text() {
    add_exception<E, Codec>();
    add_exception<WithText<E>, Codec>();
}

// ---- exceptions with an error code --------------------------------------------------------------

/// The categories that every process has; others are objects of one process.
const std::error_category* const known_categories[] = {
    &std::generic_category(), &std::system_category(), &std::iostream_category(),
    &std::future_category()};

bool encode_code(Writer& writer, const std::error_code& code) {
    std::uint8_t index = 0;
    for (const std::error_category* category : known_categories) {
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
    if (index >= std::size(known_categories))
        throw CodecError("an error code of a category that does not exist");
    return {value, *known_categories[index]};
}

/// What the constructor of a `std::system_error` was given: `what()` without the code's message,
/// which the constructor appends. (Asks this class's `what()`, not a derived one's.)
std::string given_text(const std::system_error& error) {
    std::string text = error.std::system_error::what();
    const std::string appended = ": " + error.code().message();
    if (text.ends_with(appended)) text.resize(text.size() - appended.size());
    return text;
}

/// `std::system_error` and its like: made from a text and a code, or from the code only.
template <class E>
struct SystemErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<E>([&](const E& error) {
            detail::encode(writer, given_text(error));
            return encode_code(writer, error.code());
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what, bool has_nested) {
        const auto text = detail::decode<std::string>(reader);
        const std::error_code code = decode_code(reader);
        if constexpr (std::is_constructible_v<E, const std::error_code&>) {
            if (what == code.message()) return make_exception(E(code), has_nested);
        }
        if constexpr (std::is_constructible_v<E, const std::string&, const std::error_code&>) {
            return make_exception(E(text, code), has_nested);
        } else {
            return make_exception(E(code, text), has_nested);
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
    static std::exception_ptr decode(Reader& reader, const std::string&, bool has_nested) {
        const auto text = detail::decode<std::string>(reader);
        const auto path1 = detail::decode<std::filesystem::path>(reader);
        const auto path2 = detail::decode<std::filesystem::path>(reader);
        const std::error_code code = decode_code(reader);
        // The number of paths shows in what().
        if (path1.empty() && path2.empty()) return make_exception(E(text, code), has_nested);
        if (path2.empty()) return make_exception(E(text, path1, code), has_nested);
        return make_exception(E(text, path1, path2, code), has_nested);
    }
};

struct FutureErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<std::future_error>([&](const std::future_error& error) {
            detail::encode(writer, error.code().value());
            return error.code().category() == std::future_category();
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string&, bool has_nested) {
        const auto code = static_cast<std::future_errc>(detail::decode<int>(reader));
        return make_exception(std::future_error(code), has_nested);
    }
};

/// What streams throw: a class inside the standard library, derived from `std::ios_base::failure`.
const std::type_info& type_that_streams_throw() {
    try {
        std::ios stream(nullptr);
        stream.exceptions(std::ios::badbit); // throws: a stream without a buffer is bad
    } catch (...) {
        return *abi::__cxa_current_exception_type();
    }
    return typeid(std::ios_base::failure);
}

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
    if (death.exitcode < -NSIG) throw CodecError("a worker's death by an unknown signal");
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
    static std::exception_ptr decode(Reader& reader, const std::string&, bool has_nested) {
        Death death = decode_death(reader);
        return make_exception(WorkerDied(std::move(death), detail::decode<std::string>(reader)),
                              has_nested);
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
    static std::exception_ptr decode(Reader& reader, const std::string&, bool has_nested) {
        const auto attempts = detail::decode<int>(reader);
        const auto task = detail::decode<std::string>(reader);
        std::vector<Death> deaths;
        while (reader.remaining() != 0) deaths.push_back(decode_death(reader));
        return make_exception(PoisonedTask(std::move(deaths), attempts, task), has_nested);
    }
};

struct TaskTimeoutCodec {
    static bool encode(Writer& writer) {
        return with_current<TaskTimeout>([&](const TaskTimeout& error) {
            detail::encode(writer, error.last_output());
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what, bool has_nested) {
        return make_exception(TaskTimeout(what, detail::decode<std::string>(reader)), has_nested);
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
    static std::exception_ptr decode(Reader& reader, const std::string& what, bool has_nested) {
        const auto kind = detail::decode<LimitKind>(reader);
        const auto allowed = detail::decode<std::uint64_t>(reader);
        const auto used = detail::decode<std::uint64_t>(reader);
        return make_exception(
            LimitExceeded(kind, what, allowed, used, detail::decode<std::string>(reader)),
            has_nested);
    }
};

struct RemoteErrorCodec {
    static bool encode(Writer& writer) {
        return with_current<RemoteError>([&](const RemoteError& error) {
            detail::encode(writer, error.type_name());
            return true;
        });
    }
    static std::exception_ptr decode(Reader& reader, const std::string& what, bool has_nested) {
        return make_exception(RemoteError(detail::decode<std::string>(reader), what), has_nested);
    }
};

template <class... Es>
void add_made_from_text() {
    (add_exception<Es, ExceptionCodec<Es>>(), ...);
}

void add_standard_types() {
    add_made_from_text<std::logic_error, std::invalid_argument, std::domain_error,
                       std::length_error, std::out_of_range, std::runtime_error, std::range_error,
                       std::overflow_error, std::underflow_error>();
#ifdef __cpp_lib_format
    add_made_from_text<std::format_error>();
#endif
    add_with_text<std::exception>();
    add_with_text<std::bad_exception>();
    add_with_text<std::bad_alloc>();
    add_with_text<std::bad_array_new_length>();
    add_with_text<std::bad_cast>();
    add_with_text<std::bad_any_cast>();
    add_with_text<std::bad_typeid>();
    add_with_text<std::bad_function_call>();
    add_with_text<std::bad_optional_access>();
    add_with_text<std::bad_variant_access>();
    add_with_text<std::bad_weak_ptr>();
    add_with_text<std::regex_error, RegexErrorCodec>();
    add_exception<std::system_error, SystemErrorCodec<std::system_error>>();
    add_exception<std::filesystem::filesystem_error, FilesystemErrorCodec>();
    add_exception<std::future_error, FutureErrorCodec>();

    using Failure = SystemErrorCodec<std::ios_base::failure>;
    add_exception<std::ios_base::failure, Failure>();
    static ExceptionType thrown_by_streams{&type_that_streams_throw(), &Failure::encode,
                                           &Failure::decode};
    detail::add_exception_type(thrown_by_streams);
}

void add_own_types() {
    add_made_from_text<Error, BrokenProcessPool, CancelledError, TimeoutError, PoolShutdown,
                       CodecError, EndOfFile>();
    add_exception<WorkerDied, WorkerDiedCodec>();
    add_exception<PoisonedTask, PoisonedTaskCodec>();
    add_exception<TaskTimeout, TaskTimeoutCodec>();
    add_exception<LimitExceeded, LimitExceededCodec>();
    add_exception<RemoteError, RemoteErrorCodec>();
}

// Before any thread and any fork, so that neither has to wait for it.
[[maybe_unused]] const bool types_are_added = [] {
    add_standard_types();
    add_own_types();
    return true;
}();

} // namespace

const ExceptionType* find_exception_type(const std::type_info& type) {
    return find_if([&](const ExceptionType& entry) { return *entry.type == type; });
}

const ExceptionType* find_exception_type(std::string_view mangled_name) {
    return find_if([&](const ExceptionType& entry) { return entry.type->name() == mangled_name; });
}

const ExceptionType* find_exception_type_by_readable_name(std::string_view name) {
    return find_if(
        [&](const ExceptionType& entry) { return detail::type_name(*entry.type) == name; });
}

} // namespace prong::codec
