#include <prong/array.hpp>

#include "sync/cell.hpp"
#include "sync/object.hpp"

#include <prong/error.hpp>

#include <limits>
#include <stdexcept>
#include <string>

namespace prong::detail {

std::size_t BasicArray::product(std::size_t elements, std::size_t element_bytes) noexcept {
    constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
    return elements > most / element_bytes ? most : elements * element_bytes;
}

void BasicArray::initialise(std::size_t element_bytes) {
    sync::Cell& cell = object_.get();
    cell.array.element_bytes.store(element_bytes);
    if (elements_ != 0) memory_ = sync::further_memory(cell, elements_ * element_bytes);
}

BasicArray::BasicArray(Ids ids, std::size_t element_bytes)
    : lock_(HandleAccess::make<RLock>(ids.lock)), object_(ObjectKind::array, ids.array) {
    const sync::Cell& cell = object_.get();
    if (cell.array.element_bytes.load() != element_bytes)
        throw CodecError("the encoded bytes are a prong::Array of another type");
    const std::uint64_t bytes = cell.data_bytes.load();
    elements_ = bytes / element_bytes;
    if (elements_ != 0) memory_ = sync::further_memory(cell, bytes);
    object_.require(); // else the numbers may be those of another object
}

void BasicArray::require(std::size_t index) const {
    require();
    if (index >= elements_)
        throw std::out_of_range("prong::Array: there is no element " + std::to_string(index) +
                                " in an array of " + std::to_string(elements_));
}

} // namespace prong::detail
