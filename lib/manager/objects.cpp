#include "manager/objects.hpp"

#include "codec/exception.hpp"
#include "os/random.hpp"

#include <prong/codec.hpp>
#include <prong/detail/code_place.hpp>
#include <prong/detail/names.hpp>

#include <cxxabi.h>

#include <cstddef>
#include <cstring>
#include <utility>

namespace prong::manager {
namespace {

using detail::CodePlace;
using detail::Operation;
using detail::Reader;
using detail::Writer;

/// Returns what would be the mark if an operation were there. (It may be any object of the module,
/// or lie between two, of which AddressSanitizer would complain.)
[[gnu::no_sanitize_address]] std::uint64_t mark_at(const void* place) {
    static_assert(offsetof(Operation, mark) == 0);
    return *static_cast<const std::uint64_t*>(place);
}

const Operation& decode_operation(Reader& reader) {
    const auto code = detail::decode<CodePlace>(reader);
    const void* const place =
        code.module == CodePlace::none ? nullptr : detail::at_place(code, sizeof(Operation));
    const bool is_aligned = reinterpret_cast<std::uintptr_t>(place) % alignof(Operation) == 0;
    if (place == nullptr || !is_aligned || mark_at(place) != Operation::operation_mark) {
        throw CodecError("the manager does not know what to do: the message is corrupt, or of a "
                         "shared object that the manager's process has not loaded");
    }
    return *static_cast<const Operation*>(place);
}

/// Half of all numbers are above it.
std::uint64_t random_id() {
    std::uint64_t id = 0;
    std::memcpy(&id, os::random_bytes(sizeof(id)).data(), sizeof(id));
    return id / 2 + 2;
}

} // namespace

Objects::Objects() {
    add(typeid(Directory), std::make_shared<Directory>());
    // A proxy that outlives its manager names no object of the next manager at the same address.
    next_id_ = random_id();
}

void Objects::reply_to(Reader request, Writer& reply) {
    try {
        detail::encode(reply, true);
        execute(request, reply);
    } catch (abi::__forced_unwind&) { // the end of this thread
        throw;
    } catch (...) {
        replace_by_failure(reply);
    }
}

void replace_by_failure(Writer& reply) {
    reply.rewind(0);
    detail::encode(reply, false);
    codec::encode_current_exception(reply);
}

void Objects::execute(Reader& request, Writer& result) {
    const Operation& operation = decode_operation(request);
    const auto id = detail::decode<std::uint64_t>(request);
    if (operation.make != nullptr) {
        detail::encode(result, add(*operation.type, operation.make(request)));
    } else {
        Served& served = find(id, *operation.type);
        operation.call(served.object.get(), served.mutex, request, result);
    }
}

std::uint64_t Objects::add(const std::type_info& type, std::shared_ptr<void> object) {
    auto served = std::make_unique<Served>();
    served->type = &type;
    served->object = std::move(object);
    const std::scoped_lock guard(mutex_);
    served_.emplace(next_id_, std::move(served));
    return next_id_++;
}

Objects::Served& Objects::find(std::uint64_t id, const std::type_info& type) const {
    const std::shared_lock guard(mutex_);
    const auto found = served_.find(id);
    if (found == served_.end())
        throw CodecError("the manager has no object number " + std::to_string(id));
    if (*found->second->type != type) {
        throw CodecError("the manager's object is of type " +
                         detail::type_name(*found->second->type) + ", not " +
                         detail::type_name(type));
    }
    return *found->second; // never removed
}

} // namespace prong::manager
