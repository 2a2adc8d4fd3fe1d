#include "proc/exception_text.hpp"

#include "codec/current_exception.hpp"

#include <boost/core/demangle.hpp>
#include <unistd.h>

#include <exception>
#include <typeinfo>

namespace prong::proc {
namespace {

/// Without what is nested in it.
std::string describe_current_exception() {
    const std::type_info* const type = codec::type_of_current_exception();
    std::string name =
        type != nullptr ? boost::core::demangle(type->name()) : "not a C++ exception";
    try {
        throw;
    } catch (const std::exception& error) {
        return name + ": " + error.what();
    } catch (...) {
        return name;
    }
}

} // namespace

std::string text_of_current_exception() {
    std::string text = describe_current_exception();
    std::exception_ptr nested = codec::nested_in_current_exception();
    while (nested != nullptr) {
        try {
            std::rethrow_exception(nested);
        } catch (...) {
            text += "\n  caused by " + describe_current_exception();
            nested = codec::nested_in_current_exception();
        }
    }
    return text;
}

void write_to_stderr(const std::string& text) noexcept {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text.data(), text.size());
}

} // namespace prong::proc
