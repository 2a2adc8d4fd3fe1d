#pragma once

#include "support/catch.hpp"
#include "support/child.hpp"

#include <functional>
#include <stdexcept>
#include <string>

namespace prong::test {

/// Within a child, where Catch2 cannot be asked: what is not so ends it, and is its error output.
inline void require(bool condition, const std::string& what) {
    if (!condition) throw std::runtime_error("not so: " + what);
}

/// The text of the exception that `body` must throw.
template <typename E, typename F>
std::string require_throws(F body, const std::string& what) {
    try {
        body();
    } catch (const E& error) {
        return error.what();
    }
    throw std::runtime_error("does not throw: " + what);
}

/// Runs `body` in a child; checks that all it required was so.
inline ChildResult check_child(const std::function<void()>& body) {
    ChildResult result = run_in_child([&] {
        body();
        return 0;
    });
    INFO(result.err);
    CHECK(result.exitcode == 0);
    CHECK(result.err.empty());
    return result;
}

} // namespace prong::test
