#pragma once

#include <exception>
#include <optional>
#include <string>
#include <typeinfo>

/// What there is to know of the exception that is being handled, whatever it is.
namespace prong::diag {

/// Its type, without what `std::throw_with_nested` wraps around it; null for one of another
/// programming language.
const std::type_info* type_of_current_exception();

/// What is nested in it, or null.
std::exception_ptr nested_in_current_exception();

/// Its message: `what()`, or the text or number that was thrown; empty if it is none of these.
std::optional<std::string> message_of_current_exception();

/// Type and message, and those of the exceptions nested in it, a line each:
/// "std::runtime_error: cannot load\n  caused by std::out_of_range: key".
std::string text_of_current_exception();

} // namespace prong::diag
