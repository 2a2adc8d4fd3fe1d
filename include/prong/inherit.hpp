#pragma once

#include <utility>
#include <vector>

namespace prong {

/// Which of the program's open descriptors a pool's processes keep (`PoolOptions::inherit`).
/// Standard input, output and error are always kept. What a process keeps open cannot end
/// elsewhere: a pipe's reader sees no end of file, a file lock (`flock`) is not released, `pclose`
/// waits.
///
/// The number of a descriptor that is not kept stays taken in supervisor and workers: reading and
/// writing it fails. So a library that remembers the number of its connection never writes into a
/// file that a task has opened.
class Inherit {
public:
    enum Kind : unsigned char {
        /// All but sockets that lead to another program: those with an address, and local ones that
        /// are connected to an address. A listening port would stay bound, a peer would not see the
        /// end of its connection.
        all_but_network,
        /// Standard input, output and error.
        standard_only,
    };

    // NOLINTNEXTLINE(google-explicit-constructor): PoolOptions{.inherit = Inherit::standard_only}
    Inherit(Kind kind = all_but_network) : kind_(kind) {}

    /// These and the standard ones, whatever they are; with `start_zygote`, as they are when the
    /// pool is made. At most 250.
    static Inherit only(std::vector<int> descriptors) {
        Inherit inherit(standard_only);
        inherit.listed_ = std::move(descriptors);
        return inherit;
    }

    [[nodiscard]] Kind kind() const noexcept { return kind_; }
    /// What was given to `only`.
    [[nodiscard]] const std::vector<int>& listed() const noexcept { return listed_; }

private:
    Kind kind_;
    std::vector<int> listed_;
};

} // namespace prong
