#pragma once

#include "fuzz/targets.hpp"

#include <prong/prong.hpp>

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <span>
#include <utility>

/// \file
/// What several targets need.

namespace prong::test {

inline Bytes bytes_of(const detail::BufferWriter& writer) {
    return {writer.bytes().begin(), writer.bytes().end()};
}

/// Ends quietly with `E`, which has a text.
template <typename E, typename Body>
void run_quietly(Body body) {
    try {
        body();
    } catch (const E& error) {
        static_cast<void>(std::strlen(error.what()));
    }
}

/// Takes a choice from the end of the input; so what is decoded stays aligned as it was.
template <typename T>
T take(std::span<const std::byte>& input) {
    T value{};
    const std::size_t size = std::min(sizeof(value), input.size());
    if (size != 0) std::memcpy(&value, input.last(size).data(), size);
    input = input.first(input.size() - size);
    return value;
}

/// The other way round.
template <typename T>
void put(Bytes& seed, const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    seed.insert(seed.end(), bytes.begin(), bytes.end());
}

template <typename T>
Bytes encoded(const T& value) {
    detail::BufferWriter writer;
    detail::encode(writer, value);
    return bytes_of(writer);
}

/// Reads all of an exception.
inline void look_at(const std::exception_ptr& error) {
    if (error == nullptr) return;
    run_quietly<std::exception>([&] {
        try {
            std::rethrow_exception(error);
        } catch (const WorkerDied& death) {
            static_cast<void>(death.backtrace());
        } catch (const std::exception& outer) {
            static_cast<void>(std::strlen(outer.what()) + thrown_at(outer).size());
            std::rethrow_if_nested(outer);
        }
    });
}

/// Returns two connected ends: the second has sent the bytes to the first, and sends no more.
inline std::pair<Connection, Connection> connected(std::span<const std::byte> input) {
    auto ends = Pipe();
    input = input.first(std::min<std::size_t>(input.size(), 32 << 10)); // what the pipe holds
    const int sender = ends.second.fileno();
    if (!input.empty() &&
        write(sender, input.data(), input.size()) != static_cast<ssize_t>(input.size()))
        std::abort();
    shutdown(sender, SHUT_WR);
    return ends;
}

} // namespace prong::test
