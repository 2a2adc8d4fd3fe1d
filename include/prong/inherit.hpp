#pragma once

#include <utility>
#include <vector>

namespace prong {

namespace detail {
struct InheritAccess;
}

/// Selects which of the program's open descriptors a pool's processes keep
/// (`PoolOptions::inherit`), or the zygote (`start_zygote`). An inherited descriptor stays open: a
/// pipe's reader sees no end of file, `flock` is not released, `pclose` waits.
///
/// Descriptors 0, 1 and 2 stay open in every mode. Each of them that is closed or leads to another
/// program becomes `/dev/null`, even when listed. The number of any other descriptor that is not
/// kept stays taken in supervisor and workers: reading and writing it fail, usually with EBADF. So
/// a library that remembers the number of its connection never writes into a file that a task has
/// opened.
class Inherit {
public:
    /// Selects what is kept besides the descriptors given to `only`.
    enum Kind : unsigned char {
        /// All but sockets of families other than AF_UNIX, and AF_UNIX sockets that are named or
        /// connected to a named one. Inherited, a listening port would stay bound, and a peer would
        /// not see the end of its connection.
        all_but_network,
        /// Standard input, output and error.
        standard_only,
    };

    /// Keeps what `kind` says; implicit for `PoolOptions{.inherit = ...}`.
    // NOLINTNEXTLINE(google-explicit-constructor): PoolOptions{.inherit = Inherit::standard_only}
    Inherit(Kind kind = all_but_network) : kind_(kind) {}

    /// Keeps `descriptors` besides 0, 1 and 2; at most 250. `start_zygote` checks and keeps them at
    /// its call, a pool's constructor at its own, also when workers are forked from a zygote. Both
    /// throw `std::invalid_argument` for more descriptors, or one that is not open.
    static Inherit only(std::vector<int> descriptors) {
        Inherit inherit(standard_only);
        inherit.listed_ = std::move(descriptors);
        return inherit;
    }

    /// Returns the kind; `standard_only` after `only`.
    [[nodiscard]] Kind kind() const noexcept { return kind_; }
    /// Returns the descriptors given to `only`.
    [[nodiscard]] const std::vector<int>& listed() const noexcept { return listed_; }

private:
    friend struct detail::InheritAccess;

    Kind kind_;
    std::vector<int> listed_;
};

namespace detail {

/// Keeps a descriptor besides those that the user has selected.
struct InheritAccess {
    static void keep(Inherit& inherit, int descriptor) { inherit.listed_.push_back(descriptor); }
};

} // namespace detail

} // namespace prong
