#pragma once

#include <prong/exception.hpp>

#include <string_view>
#include <typeinfo>

namespace prong::codec {

/// Returns the entry for exceptions of exactly this type, or null.
const detail::ExceptionType* find_exception_type(const std::type_info& type);

/// Returns the entry for the type with this mangled name, or null.
const detail::ExceptionType* find_exception_type(std::string_view mangled_name);

} // namespace prong::codec
