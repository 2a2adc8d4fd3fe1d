#pragma once

#include <exception>
#include <typeinfo>

/// What there is to know of the exception that is being handled, whatever it is.
namespace prong::codec {

/// Its type, without what `std::throw_with_nested` wraps around it; null for one of another
/// programming language.
const std::type_info* type_of_current_exception();

/// What is nested in it, or null.
std::exception_ptr nested_in_current_exception();

} // namespace prong::codec
