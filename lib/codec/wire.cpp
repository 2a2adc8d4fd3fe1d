#include <prong/detail/wire.hpp>

#include <prong/error.hpp>

#include <algorithm>

namespace prong::detail {

void BufferWriter::grow(std::size_t more) {
    const std::size_t used = size();
    buffer_.resize(std::max({used + more, 2 * used, std::size_t{256}}));
    set_window(buffer_.data(), used, buffer_.size());
}

void Reader::throw_truncated(std::size_t wanted) const {
    throw CodecError("the encoded bytes end too early: " + std::to_string(wanted) +
                     " more were expected, " + std::to_string(remaining()) +
                     " are left; both sides must use the same type");
}

} // namespace prong::detail
