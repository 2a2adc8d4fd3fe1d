#pragma once

#include <prong/future.hpp>

#include <stdexcept>

namespace prong::test {

/// The error that a future ends with; throws if it is none or another.
template <typename E, typename R>
E error_of(Future<R>& future) {
    try {
        static_cast<void>(future.get());
    } catch (const E& error) {
        return error;
    }
    throw std::logic_error("the future ended without an error");
}

} // namespace prong::test
