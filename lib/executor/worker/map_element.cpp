#include <prong/map.hpp>

#include "codec/exception.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/worker/task_scope.hpp"

namespace prong::detail {
namespace {

/// Encodes the `std::bad_alloc` that is being handled: as `LimitExceeded` if the chunk's task has
/// an address-space limit.
void encode_bad_alloc(Writer& writer, std::span<const void* const> thrown_at) {
    const auto excess = executor::TaskScope::current_memory_excess();
    if (!excess) return codec::encode_current_exception(writer, thrown_at);
    try {
        throw executor::limit_exceeded(*excess, "an element of map");
    } catch (const LimitExceeded&) {
        codec::encode_current_exception(writer, thrown_at);
    }
}

} // namespace

void encode_element_failure(Writer& writer) {
    const auto thrown_at = diag::take_frames(executor::TaskScope::current_trace());
    BufferWriter failure(writer.max_nesting());
    try {
        throw;
    } catch (const std::bad_alloc&) {
        encode_bad_alloc(failure, thrown_at);
    } catch (...) {
        codec::encode_current_exception(failure, thrown_at);
    }
    encode(writer, std::uint64_t{failure.size()});
    writer.write(failure.data(), failure.size());
}

bool captures_stack() noexcept {
    return executor::TaskScope::current_trace() != nullptr;
}

void call_with_capture(void (*function)(void*), void* argument) {
    executor::TaskScope::current_trace()->call(function, argument);
}

} // namespace prong::detail
