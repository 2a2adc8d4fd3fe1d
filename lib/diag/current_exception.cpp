#include "diag/current_exception.hpp"

#include <boost/core/demangle.hpp>
#include <cxxabi.h>

#include <string_view>

namespace prong::diag {
namespace {

/// Returns the type that another one is the wrapper of, or null. `std::throw_with_nested` throws a
/// class of the standard library that derives from the user's; `WithStack` derives from it, too.
const std::type_info* type_wrapped_in(const std::type_info* type) {
    const auto* const derived = dynamic_cast<const abi::__vmi_class_type_info*>(type);
    if (derived == nullptr) return nullptr;
    const std::string_view name = type->name();
    const bool is_wrapper =
        name.starts_with("St17_Nested_exceptionI") || name.starts_with("N5prong6detail9WithStackI");
    return is_wrapper ? derived->__base_info[0].__base_type : nullptr;
}

/// Returns type and message without nested exceptions.
std::string describe_current_exception() {
    const std::type_info* const type = type_of_current_exception();
    const std::string name =
        type != nullptr ? boost::core::demangle(type->name()) : "not a C++ exception";
    const auto message = message_of_current_exception();
    return message ? name + ": " + *message : name;
}

} // namespace

const std::type_info* type_of_current_exception() {
    const std::type_info* type = abi::__cxa_current_exception_type();
    while (const std::type_info* const wrapped = type_wrapped_in(type)) type = wrapped;
    return type;
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

std::optional<std::string> message_of_current_exception() {
    try {
        throw;
    } catch (const std::exception& error) {
        const char* const text = error.what();
        return text != nullptr ? text : "";
    } catch (const std::string& text) {
        return text;
    } catch (const char* text) {
        return text != nullptr ? text : "";
    } catch (int number) {
        return std::to_string(number);
    } catch (long number) {
        return std::to_string(number);
    } catch (unsigned number) {
        return std::to_string(number);
    } catch (unsigned long number) {
        return std::to_string(number);
    } catch (abi::__forced_unwind&) {
        throw;
    } catch (...) {
        return std::nullopt;
    }
}

std::string text_of_current_exception() {
    std::string text = describe_current_exception();
    std::exception_ptr nested = nested_in_current_exception();
    while (nested != nullptr) {
        try {
            std::rethrow_exception(nested);
        } catch (...) {
            text += "\n  caused by " + describe_current_exception();
            nested = nested_in_current_exception();
        }
    }
    return text;
}

} // namespace prong::diag
