#pragma once

#include "asio/basics.hpp"
#include "executor/helpers.hpp"

#include <prong/prong.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace prong::test {

using prong::async_get;
using prong::async_wait;

/// The text of an exception; empty if there is none.
inline std::string text_of(const std::exception_ptr& error) {
    try {
        if (error) std::rethrow_exception(error);
        return {};
    } catch (const std::exception& exception) {
        return exception.what();
    }
}

/// What an operation with the signature `void(std::exception_ptr, T)` has completed with.
template <typename T>
struct End {
    std::exception_ptr error;
    std::optional<T> value;
    int calls = 0;

    auto handler() {
        return [this](std::exception_ptr e, T v) {
            ++calls;
            error = std::move(e);
            value = std::move(v);
        };
    }
};

template <>
struct End<void> {
    std::exception_ptr error;
    int calls = 0;

    auto handler() {
        return [this](std::exception_ptr e) {
            ++calls;
            error = std::move(e);
        };
    }
};

} // namespace prong::test
