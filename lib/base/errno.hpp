#pragma once

#include <cerrno>
#include <system_error>

namespace prong::base {

/// Throws errno as a `std::system_error` with the call's name.
[[noreturn]] inline void throw_errno(const char* call, int error = errno) {
    throw std::system_error(error, std::generic_category(), call);
}

/// Repeats `call` while a signal interrupts it.
template <typename Call>
auto retry_interrupted(Call call) {
    auto result = call();
    while (result == -1 && errno == EINTR) result = call();
    return result;
}

} // namespace prong::base
