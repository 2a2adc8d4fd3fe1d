#include <prong/detail/wire.hpp>

#include <prong/detail/pledges.hpp>
#include <prong/error.hpp>

#include <algorithm>

namespace prong::detail {

Pledges& Writer::pledges() {
    throw CodecError(
        "a prong::SharedBuffer or SharedView cannot go this way: it can be an argument "
        "or the result of a task, an argument of a method of a manager's object or of a "
        "Process, a message or an item of a queue, or lie in one of these");
}

MessageWriter::MessageWriter() noexcept = default;
MessageWriter::~MessageWriter() = default;

void Writer::require_family() const {}

void Writer::check_captures(std::span<const std::byte> /*captures*/) const {}

Pledges& MessageWriter::pledges() {
    if (!pledges_) pledges_ = std::make_unique<Pledges>(ParcelRoute::mail);
    return *pledges_;
}

void MessageWriter::post() noexcept {
    if (pledges_) pledges_->post();
}

void MessageWriter::forget_handles() noexcept {
    if (pledges_) pledges_->forget_handles();
}

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
