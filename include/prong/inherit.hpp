#pragma once

#include <utility>
#include <vector>

namespace prong {

/// Which of the program's open descriptors a pool's processes keep (`PoolOptions::inherit`), or the
/// zygote (`start_zygote`). What they keep open cannot end elsewhere: a pipe's reader sees no end
/// of file, a file lock (`flock`) is not released, `pclose` waits.
///
/// 0, 1 and 2 stay open in every mode. Each of them that is closed or leads to another program
/// becomes `/dev/null`, even when listed. The number of any other descriptor that is not kept stays
/// taken in supervisor and workers: reading and writing it fail (with EBADF, as a rule). So a
/// library that remembers the number of its connection never writes into a file that a task has
/// opened.
class Inherit {
public:
    /// What is kept beside the descriptors that `only` lists.
    enum Kind : unsigned char {
        /// All but sockets that lead to another program: of any family but AF_UNIX, and of that one
        /// those that have an address or are connected to one. A listening port would stay bound, a
        /// peer would not see the end of its connection.
        all_but_network,
        /// Standard input, output and error.
        standard_only,
    };

    /// Implicit, for `PoolOptions{.inherit = Inherit::standard_only}`.
    // NOLINTNEXTLINE(google-explicit-constructor): PoolOptions{.inherit = Inherit::standard_only}
    Inherit(Kind kind = all_but_network) : kind_(kind) {}

    /// Keeps `descriptors` beside 0, 1 and 2; at most 250, all open when the pool is made, else its
    /// constructor throws `std::invalid_argument`. With `start_zygote` passes them on as they are
    /// then.
    static Inherit only(std::vector<int> descriptors) {
        Inherit inherit(standard_only);
        inherit.listed_ = std::move(descriptors);
        return inherit;
    }

    /// `standard_only` after `only`.
    [[nodiscard]] Kind kind() const noexcept { return kind_; }
    /// What was given to `only`.
    [[nodiscard]] const std::vector<int>& listed() const noexcept { return listed_; }

private:
    Kind kind_;
    std::vector<int> listed_;
};

} // namespace prong
