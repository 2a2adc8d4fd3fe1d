#include "codec/addresses.hpp"

#include "diag/throw_trace.hpp"

#include <prong/codec.hpp>
#include <prong/detail/code_place.hpp>
#include <prong/error.hpp>

#include <atomic>
#include <cstdint>
#include <vector>

namespace prong::codec {
namespace {

constinit std::atomic<bool> encodes_places = false;

} // namespace

void encode_places() noexcept {
    encodes_places.store(true);
}

void encode_addresses(detail::Writer& writer, std::span<const void* const> addresses) {
    const bool as_places = encodes_places.load();
    std::vector<detail::CodePlace> places;
    places.reserve(addresses.size());
    for (const void* const address : addresses) {
        places.push_back(
            as_places ? detail::place_of(address)
                      : detail::CodePlace{.module = detail::CodePlace::none,
                                          .offset = reinterpret_cast<std::uintptr_t>(address)});
    }
    detail::encode(writer, places);
}

std::vector<const void*> decode_addresses(detail::Reader& reader) {
    const auto places = detail::decode<std::vector<detail::CodePlace>>(reader);
    if (places.size() > diag::max_frames)
        throw CodecError("an encoded call stack has too many addresses");
    std::vector<const void*> addresses;
    addresses.reserve(places.size());
    for (const detail::CodePlace& place : places) addresses.push_back(detail::at_place(place, 1));
    return addresses;
}

} // namespace prong::codec
