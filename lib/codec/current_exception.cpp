#include "codec/current_exception.hpp"

#include <cxxabi.h>

#include <string_view>

namespace prong::codec {

const std::type_info* type_of_current_exception() {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    if (type == nullptr) return nullptr;
    // std::throw_with_nested throws a class inside the standard library, derived from the user's.
    constexpr std::string_view wrapper = "St17_Nested_exceptionI";
    const auto* const derived = dynamic_cast<const abi::__vmi_class_type_info*>(type);
    const bool is_wrapped =
        derived != nullptr && std::string_view(type->name()).starts_with(wrapper);
    return is_wrapped ? derived->__base_info[0].__base_type : type;
}

std::exception_ptr nested_in_current_exception() {
    try {
        throw;
    } catch (const std::nested_exception& error) {
        return error.nested_ptr();
    } catch (...) {
        return nullptr;
    }
}

} // namespace prong::codec
