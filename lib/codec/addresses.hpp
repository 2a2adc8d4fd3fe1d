#pragma once

#include <prong/detail/wire.hpp>

#include <span>
#include <vector>

/// The addresses of a call stack as bytes.
namespace prong::codec {

void encode_addresses(detail::Writer& writer, std::span<const void* const> addresses);

/// Throws `CodecError` for more addresses than a call stack has (`diag::max_frames`).
std::vector<const void*> decode_addresses(detail::Reader& reader);

} // namespace prong::codec
