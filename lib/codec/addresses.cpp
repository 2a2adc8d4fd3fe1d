#include "codec/addresses.hpp"

#include "diag/throw_trace.hpp"

#include <prong/codec.hpp>
#include <prong/error.hpp>

#include <cstdint>

namespace prong::codec {

void encode_addresses(detail::Writer& writer, std::span<const void* const> addresses) {
    std::vector<std::uint64_t> numbers;
    numbers.reserve(addresses.size());
    for (const void* address : addresses)
        numbers.push_back(reinterpret_cast<std::uint64_t>(address));
    detail::encode(writer, numbers);
}

std::vector<const void*> decode_addresses(detail::Reader& reader) {
    const auto numbers = detail::decode<std::vector<std::uint64_t>>(reader);
    if (numbers.size() > diag::max_frames)
        throw CodecError("an encoded call stack has too many addresses");
    std::vector<const void*> addresses;
    addresses.reserve(numbers.size());
    for (const std::uint64_t number : numbers)
        addresses.push_back(reinterpret_cast<const void*>(number));
    return addresses;
}

} // namespace prong::codec
