#include <prong/map.hpp>

#include "codec/exception.hpp"
#include "executor/shared/failure_report.hpp"
#include "executor/worker/task_scope.hpp"

namespace prong::detail {
namespace {

/// A `std::bad_alloc` that is being handled: at the limit of the chunk's task it means that.
void encode_bad_alloc(Writer& writer) {
    const auto excess = executor::TaskScope::current_memory_excess();
    if (!excess) return codec::encode_current_exception(writer);
    try {
        throw executor::limit_exceeded(*excess, "an element of map");
    } catch (const LimitExceeded&) {
        codec::encode_current_exception(writer);
    }
}

} // namespace

void encode_element_failure(Writer& writer) {
    BufferWriter failure(writer.max_nesting());
    try {
        throw;
    } catch (const std::bad_alloc&) {
        encode_bad_alloc(failure);
    } catch (...) {
        codec::encode_current_exception(failure);
    }
    encode(writer, std::uint64_t{failure.size()});
    writer.write(failure.data(), failure.size());
}

} // namespace prong::detail
