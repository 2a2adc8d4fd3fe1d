#pragma once

#include "support/catch.hpp"

#include <prong/asio.hpp>

#include <cstddef>
#include <exception>
#include <memory_resource>
#include <utility>

namespace prong::test {

namespace net = boost::asio;

template <typename E>
bool is_a(const std::exception_ptr& error) {
    try {
        if (error) std::rethrow_exception(error);
    } catch (const E&) {
        return true;
    } catch (...) {
    }
    return false;
}

inline bool is_aborted(const std::exception_ptr& error) {
    try {
        if (error) std::rethrow_exception(error);
    } catch (const boost::system::system_error& failure) {
        return failure.code() == net::error::operation_aborted;
    } catch (...) {
    }
    return false;
}

/// For what a coroutine awaits: `REQUIRE` would evaluate it twice.
template <typename T, typename Expected>
void require_equal(const T& actual, const Expected& expected) {
    REQUIRE(actual == expected);
}

/// Runs a coroutine to its end in a context; throws what it throws.
template <typename Coroutine>
void run_in(net::io_context& io, Coroutine coroutine) {
    std::exception_ptr error;
    net::co_spawn(io, std::move(coroutine), [&](std::exception_ptr e) { error = std::move(e); });
    io.restart();
    io.run();
    if (error) std::rethrow_exception(error);
}

/// Counts the memory that is in use.
class CountingMemory : public std::pmr::memory_resource {
public:
    int allocations = 0;
    int in_use = 0;

private:
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        ++allocations;
        ++in_use;
        return std::pmr::new_delete_resource()->allocate(bytes, alignment);
    }
    void do_deallocate(void* place, std::size_t bytes, std::size_t alignment) override {
        --in_use;
        std::pmr::new_delete_resource()->deallocate(place, bytes, alignment);
    }
    [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override {
        return this == &other;
    }
};

/// A result without a default constructor.
struct NoDefault {
    explicit NoDefault(int n) : number(n) {}
    int number;
};

} // namespace prong::test

template <>
inline constexpr bool prong::is_bitwise_transferable<prong::test::NoDefault> = true;
