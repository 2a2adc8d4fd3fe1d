#include "codec/exception.hpp"

#include "codec/exception_types.hpp"

#include <prong/detail/names.hpp>
#include <prong/error.hpp>

#include <cxxabi.h>

#include <string>
#include <string_view>
#include <vector>

// What is written for each exception, from the outermost to what is nested innermost:
//   the mangled name of a known type, or nothing · the readable name of its type · what() ·
//   what the type's codec wrote, in a piece of its own · is there a nested exception?

namespace prong::codec {
namespace {

using detail::BufferWriter;
using detail::ExceptionType;
using detail::Reader;
using detail::Writer;

/// The readable name of a type without what std::throw_with_nested wraps around it.
// That wrapper is a class inside the standard library. Rather than rely on its name, throw one and
// see what stands before and behind the name of the type inside.
class NestedWrapper {
public:
    NestedWrapper() {
        const std::string inside = detail::type_name(typeid(Probe));
        try {
            std::throw_with_nested(Probe{});
        } catch (...) {
            const std::string whole = detail::type_name(*abi::__cxa_current_exception_type());
            const auto at = whole.find(inside);
            if (at == std::string::npos) return;
            before_ = whole.substr(0, at);
            behind_ = whole.substr(at + inside.size());
        }
    }

    /// The name inside the wrapper, or nothing if there is no wrapper.
    [[nodiscard]] std::string unwrap(const std::string& name) const {
        if (before_.empty() || !name.starts_with(before_) || !name.ends_with(behind_)) return {};
        std::string inside =
            name.substr(before_.size(), name.size() - before_.size() - behind_.size());
        constexpr std::string_view qualifier = " const"; // of an exception that was thrown as const
        if (inside.ends_with(qualifier)) inside.resize(inside.size() - qualifier.size());
        return inside;
    }

private:
    struct Probe {};
    std::string before_;
    std::string behind_;
};

const NestedWrapper nested_wrapper;

/// The text of the exception that is being handled.
std::string text_of_current_exception() {
    try {
        throw;
    } catch (const std::exception& error) {
        const char* const text = error.what();
        return text != nullptr ? text : "";
    } catch (const std::string& text) {
        return text;
    } catch (const char* text) {
        return text != nullptr ? text : "";
    } catch (int number) {
        return std::to_string(number);
    } catch (long number) {
        return std::to_string(number);
    } catch (unsigned number) {
        return std::to_string(number);
    } catch (unsigned long number) {
        return std::to_string(number);
    } catch (abi::__forced_unwind&) {
        throw;
    } catch (...) {
        return "an exception that is not a std::exception";
    }
}

/// One exception without what is nested in it.
struct Description {
    std::string mangled_name; ///< of a known type, or empty
    std::string type_name;
    std::string what;
    std::vector<std::byte> payload; ///< what the type's codec wrote

    void note(const std::string& trouble) { what += " (" + trouble + ")"; }
};

/// Calls `step`, which calls the user's code; gives what it threw as text, or nothing.
template <class Step>
std::string trouble_in(Step step) {
    try {
        step();
        return {};
    } catch (const std::exception& error) {
        const char* const text = error.what();
        return text != nullptr ? text : "";
    } catch (abi::__forced_unwind&) {
        throw;
    } catch (...) {
        return "an exception that is not a std::exception";
    }
}

/// Describes the exception that is being handled.
Description describe_current_exception() {
    Description description;
    const std::type_info* const type = abi::__cxa_current_exception_type();
    const ExceptionType* known = nullptr;
    if (type == nullptr) {
        description.type_name = "an exception of another programming language";
    } else {
        description.type_name = detail::type_name(*type);
        known = find_exception_type(*type);
        const std::string inside = nested_wrapper.unwrap(description.type_name);
        if (known == nullptr && !inside.empty()) {
            description.type_name = inside;
            known = find_exception_type_by_readable_name(inside);
        }
    }

    description.what = text_of_current_exception();
    if (known == nullptr) return description;

    BufferWriter payload;
    const std::string not_encoded = trouble_in([&] {
        if (known->encode(payload)) description.mangled_name = known->type->name();
    });
    if (not_encoded.empty()) {
        description.payload.assign(payload.bytes().begin(), payload.bytes().end());
    } else {
        description.note("the exception itself could not be encoded: " + not_encoded);
    }
    return description;
}

void encode_description(Writer& writer, const Description& description) {
    detail::encode(writer, description.mangled_name);
    detail::encode(writer, description.type_name);
    detail::encode(writer, description.what);
    detail::encode(writer, description.payload.size());
    writer.align(detail::wire_alignment);
    writer.write(description.payload.data(), description.payload.size());
}

/// Appends the exception that is being handled, and what is nested in it, to `depth` more levels.
void encode_chain(Writer& writer, std::size_t depth) {
    encode_description(writer, describe_current_exception());
    std::exception_ptr nested;
    try {
        throw;
    } catch (const std::nested_exception& error) {
        if (depth > 0) nested = error.nested_ptr();
    } catch (...) {
    }
    detail::encode(writer, nested != nullptr);
    if (nested == nullptr) return;
    try {
        std::rethrow_exception(nested);
    } catch (...) {
        encode_chain(writer, depth - 1);
    }
}

/// The exception that `description` tells of, with the one that is being handled nested in it if
/// there is one.
std::exception_ptr rebuild(const std::string& mangled_name, const std::string& type_name,
                           std::string what, Reader payload, bool has_nested) {
    const ExceptionType* const known =
        mangled_name.empty() ? nullptr : find_exception_type(mangled_name);
    std::exception_ptr rebuilt;
    if (known != nullptr) {
        const std::string trouble =
            trouble_in([&] { rebuilt = known->decode(payload, what, has_nested); });
        if (rebuilt != nullptr) return rebuilt;
        what += " (the exception could not be rebuilt from what the worker sent: " + trouble + ")";
    }
    return detail::make_exception(RemoteError(type_name, what), has_nested);
}

std::exception_ptr decode_chain(Reader& reader, std::size_t depth) {
    const auto mangled_name = detail::decode<std::string>(reader);
    const auto type_name = detail::decode<std::string>(reader);
    const auto what = detail::decode<std::string>(reader);
    const auto size = detail::decode<std::size_t>(reader);
    reader.align(detail::wire_alignment);
    const Reader payload({reader.view(size), size});
    if (!detail::decode<bool>(reader))
        return rebuild(mangled_name, type_name, what, payload, false);
    if (depth == 0) throw CodecError("too many exceptions are nested in one another");
    const std::exception_ptr nested = decode_chain(reader, depth - 1);
    try {
        std::rethrow_exception(nested);
    } catch (...) {
        return rebuild(mangled_name, type_name, what, payload, true);
    }
}

} // namespace

void encode_current_exception(Writer& writer) {
    // First into memory of its own, so that the writer gets all of it or nothing.
    BufferWriter chain;
    encode_chain(chain, max_nested_exceptions);
    writer.align(detail::wire_alignment);
    writer.write(chain.data(), chain.size());
}

std::exception_ptr decode_exception(Reader& reader) noexcept {
    try {
        reader.align(detail::wire_alignment);
        return decode_chain(reader, max_nested_exceptions);
    } catch (const CodecError& error) {
        return std::make_exception_ptr(CodecError(
            std::string("the exception that the task ended with cannot be read: ") + error.what()));
    } catch (...) {
        return std::current_exception();
    }
}

} // namespace prong::codec
