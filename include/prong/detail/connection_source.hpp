#pragma once

#include <prong/detail/export.hpp>

#include <cstdint>

namespace prong::detail {

/// A server's channel as its workers have it, from which any of them receives the next connection.
/// Travels with each task.
class PRONG_API ConnectionSource {
public:
    /// Refers to a descriptor that the workers inherit.
    explicit ConnectionSource(int channel);

    /// Returns the socket of a connection, which belongs to the caller then; -1 if none is there.
    /// Throws `std::system_error` if this process can open no descriptor; the connection is closed.
    /// Exits the process if user code has closed the channel in it.
    [[nodiscard]] int receive() const;

private:
    int channel_;
    std::uint64_t device_; ///< of the channel: the number may be another file's by now
    std::uint64_t inode_;
};

} // namespace prong::detail
