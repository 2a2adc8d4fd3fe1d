#pragma once

#include <prong/detail/wire.hpp>

#include <exception>
#include <span>

namespace prong::codec {

/// How many nested exceptions are kept. The text of the last one says so if there were more.
inline constexpr std::size_t max_nested_exceptions = 1000;

/// Appends the exception that is being handled, with its nested exceptions. `thrown_at`: the call
/// stack of the place where it was thrown; empty if it is unknown. Call it in a `catch
/// (...)` after a `catch (abi::__forced_unwind&) { throw; }`, because the end of a thread
/// (`pthread_exit`, cancellation) is no exception and must continue. Describes an exception that
/// cannot be encoded, so it throws only what the writer throws when there is no room, and
/// `std::bad_alloc`; then it has written nothing.
void encode_current_exception(detail::Writer& writer, std::span<const void* const> thrown_at = {});

/// Returns the exception that `encode_current_exception` wrote, as a new object: a `RemoteError` if
/// its type cannot be rebuilt, a `CodecError` if the bytes are invalid. Never null.
std::exception_ptr decode_exception(detail::Reader& reader) noexcept;

} // namespace prong::codec
