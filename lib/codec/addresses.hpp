#pragma once

#include <prong/detail/export.hpp>
#include <prong/detail/wire.hpp>

#include <span>
#include <vector>

/// The addresses of a call stack as bytes.
namespace prong::codec {

/// Makes this process, and those that are forked from it, encode the place of each address in its
/// module, because another execution of the program reads it.
PRONG_API void encode_places() noexcept;

void encode_addresses(detail::Writer& writer, std::span<const void* const> addresses);

/// Returns null for each address in a module that this program does not have. Throws `CodecError`
/// for more addresses than a call stack has (`diag::max_frames`).
std::vector<const void*> decode_addresses(detail::Reader& reader);

} // namespace prong::codec
