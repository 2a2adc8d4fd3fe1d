#pragma once

#include <exception>
#include <optional>
#include <string>
#include <typeinfo>

/// Type, message and nested exception of the exception that is being handled, of any type.
namespace prong::diag {

/// Returns its type, without the wrappers of `std::throw_with_nested` and `WithStack`; null for an
/// exception of another programming language.
const std::type_info* type_of_current_exception();

/// Returns the exception nested in it, or null.
std::exception_ptr nested_in_current_exception();

/// Returns its message: `what()`, or the text or number that was thrown; nothing for other types.
std::optional<std::string> message_of_current_exception();

/// Returns type and message, followed by those of the nested exceptions, a line each:
/// "std::runtime_error: cannot load\n  caused by std::out_of_range: key".
std::string text_of_current_exception();

} // namespace prong::diag
