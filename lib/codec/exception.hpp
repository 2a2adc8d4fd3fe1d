#pragma once

#include <prong/detail/wire.hpp>

#include <exception>

namespace prong::codec {

/// How many exceptions that are nested in another one are kept; the text of the last one says so
/// if there were more.
inline constexpr std::size_t max_nested_exceptions = 1000;

/// Appends the exception that is being handled, with what is nested in it: call it in a `catch
/// (...)`, after a `catch (abi::__forced_unwind&) { throw; }`, because the end of a thread
/// (`pthread_exit`, cancellation) is no exception and must go on. An exception that cannot be
/// encoded is described instead, so this throws only what the writer throws when there is no room,
/// and `std::bad_alloc`. Nothing has been written then.
void encode_current_exception(detail::Writer& writer);

/// The exception that `encode_current_exception` wrote, as a new object. If it cannot be rebuilt as
/// what it was it is a `RemoteError`; if the bytes make no sense, a `CodecError`. Never null.
std::exception_ptr decode_exception(detail::Reader& reader) noexcept;

} // namespace prong::codec
