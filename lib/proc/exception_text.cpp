#include "proc/exception_text.hpp"

#include <boost/core/demangle.hpp>
#include <cxxabi.h>
#include <unistd.h>

#include <exception>
#include <typeinfo>

namespace prong::proc {
namespace {

std::string type_of_current_exception() {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    return type != nullptr ? boost::core::demangle(type->name()) : "not a C++ exception";
}

} // namespace

std::string text_of_current_exception() {
    try {
        throw;
    } catch (const std::exception& error) {
        // std::throw_with_nested throws a type of its own, derived from the user's
        const auto* const nested = dynamic_cast<const std::nested_exception*>(&error);
        std::string text = type_of_current_exception();
        constexpr std::string_view wrapper = "std::_Nested_exception<";
        if (text.starts_with(wrapper) && text.ends_with('>')) {
            text = text.substr(wrapper.size(), text.size() - wrapper.size() - 1);
        }
        text += std::string(": ") + error.what();
        if (nested == nullptr || nested->nested_ptr() == nullptr) return text;
        try {
            nested->rethrow_nested();
        } catch (...) {
            return text + "\n  caused by " + text_of_current_exception();
        }
    } catch (...) {
        return type_of_current_exception();
    }
}

void write_to_stderr(const std::string& text) noexcept {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
}

} // namespace prong::proc
