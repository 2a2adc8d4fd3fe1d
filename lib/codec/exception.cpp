#include "codec/exception.hpp"

#include "codec/addresses.hpp"
#include "codec/exception_types.hpp"
#include "diag/current_exception.hpp"

#include <prong/detail/names.hpp>
#include <prong/error.hpp>

#include <cxxabi.h>

#include <string>
#include <string_view>
#include <vector>

// Each exception is written as follows, from the outermost to the innermost:

namespace prong::codec {
namespace {

using detail::BufferWriter;
using detail::ExceptionType;
using detail::Reader;
using detail::Writer;

/// What follows an exception.
enum class Next : std::uint8_t {
    end,
    nested, ///< another exception, which is nested in this one
    stack,  ///< the addresses of the place where the outermost one was thrown, then the end
};

/// One exception without nested ones.
struct Description {
    std::string mangled_name; ///< empty if the receiver is not to rebuild it
    std::string type_name;
    std::string what;
    std::vector<std::byte> payload; ///< written by the type's codec

    void note(const std::string& trouble) { what += " (" + trouble + ")"; }
};

/// Calls `step`, which runs user code. Returns the text of what it threw, or an empty text.
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
    const std::type_info* const type = diag::type_of_current_exception();
    description.type_name =
        type != nullptr ? detail::type_name(*type) : "an exception of another programming language";
    description.what =
        diag::message_of_current_exception().value_or("an exception that is not a std::exception");
    if (type == nullptr) return description;
    const ExceptionType* const known = find_exception_type(*type);
    if (known == nullptr) { // the receiver may know the type, and make it from its text
        description.mangled_name = type->name();
        return description;
    }

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

/// Appends the exception that is being handled and its nested ones, one after the other: recursion
/// would need much stack.
void encode_chain(Writer& writer, std::span<const void* const> thrown_at) {
    encode_description(writer, describe_current_exception());
    std::exception_ptr nested = diag::nested_in_current_exception();
    for (std::size_t left = max_nested_exceptions; nested != nullptr; --left) {
        detail::encode(writer, Next::nested);
        try {
            std::rethrow_exception(nested);
        } catch (...) {
            Description description = describe_current_exception();
            nested = diag::nested_in_current_exception();
            if (left == 1 && nested != nullptr) {
                description.note("the exceptions nested deeper were dropped");
                nested = nullptr;
            }
            encode_description(writer, description);
        }
    }
    detail::encode(writer, thrown_at.empty() ? Next::end : Next::stack);
    if (!thrown_at.empty()) encode_addresses(writer, thrown_at);
}

/// One exception as it was received.
struct Received {
    std::string mangled_name;
    std::string type_name;
    std::string what;
    Reader payload;
    std::vector<const void*> thrown_at = {};
};

Received decode_description(Reader& reader) {
    Received received{.mangled_name = detail::decode<std::string>(reader),
                      .type_name = detail::decode<std::string>(reader),
                      .what = detail::decode<std::string>(reader),
                      .payload = {}};
    const auto size = detail::decode<std::size_t>(reader);
    reader.align(detail::wire_alignment);
    received.payload = Reader({reader.view(size), size});
    return received;
}

/// Returns the received exception; if `has_nested`, with the one that is being handled nested in
/// it.
std::exception_ptr rebuild(Received& received, bool has_nested) {
    const detail::ExceptionContext context{.has_nested = has_nested,
                                           .thrown_at = std::move(received.thrown_at)};
    const ExceptionType* const known = find_exception_type(received.mangled_name);
    std::exception_ptr rebuilt;
    if (known != nullptr) {
        const std::string trouble =
            trouble_in([&] { rebuilt = known->decode(received.payload, received.what, context); });
        if (rebuilt != nullptr) return rebuilt;
        received.what +=
            " (the exception could not be rebuilt from what the worker sent: " + trouble + ")";
    }
    return detail::make_exception(RemoteError(received.type_name, received.what), context);
}

std::exception_ptr decode_chain(Reader& reader) {
    std::vector<Received> chain;
    Next next{};
    do {
        if (chain.size() > max_nested_exceptions)
            throw CodecError("too many exceptions are nested in one another");
        chain.push_back(decode_description(reader));
        next = detail::decode<Next>(reader);
    } while (next == Next::nested);
    if (next > Next::stack) throw CodecError("something unknown follows an encoded exception");
    if (next == Next::stack) chain.front().thrown_at = decode_addresses(reader);

    std::exception_ptr rebuilt = rebuild(chain.back(), false);
    for (chain.pop_back(); !chain.empty(); chain.pop_back()) {
        try {
            std::rethrow_exception(rebuilt);
        } catch (...) {
            rebuilt = rebuild(chain.back(), true);
        }
    }
    return rebuilt;
}

} // namespace

void encode_current_exception(Writer& writer, std::span<const void* const> thrown_at) {
    // Into a buffer first, so that the writer receives all of it or nothing.
    BufferWriter chain;
    encode_chain(chain, thrown_at);
    writer.align(detail::wire_alignment);
    writer.write(chain.data(), chain.size());
}

std::exception_ptr decode_exception(Reader& reader) noexcept {
    try {
        reader.align(detail::wire_alignment);
        return decode_chain(reader);
    } catch (const CodecError& error) {
        return std::make_exception_ptr(CodecError(
            std::string("the exception that the task ended with cannot be read: ") + error.what()));
    } catch (...) {
        return std::current_exception();
    }
}

} // namespace prong::codec
