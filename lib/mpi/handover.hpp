#pragma once

#include "base/fd.hpp"

#include <prong/detail/deadline.hpp>

#include <optional>
#include <string>

/// How the relay becomes MPI rank 0 of a job that it has launched itself. The launcher starts a
/// process for rank 0, the stub. This one gives the relay what the launcher gave it: variables and,
/// with PMI-1 and PMI-2, a descriptor. Then it waits for the relay's end, whose exit status is its
/// own.
namespace prong::mpi {

/// The relay's side.
class Handover {
public:
    /// Creates the socket, whose name is random. Throws `std::system_error`.
    Handover();

    /// Returns the value for `socket_variable`.
    [[nodiscard]] const std::string& name() const { return name_; }

    /// Waits for the stub until the deadline; once it has sent what it has, this process takes over
    /// rank 0. Returns whether it has. Call it again if not.
    bool accept(detail::Deadline deadline);

    /// Returns whether the stub has ended. Does not block.
    [[nodiscard]] bool is_stub_gone() const;

    /// Lets the stub exit with this status.
    void release(int status) noexcept;

private:
    std::string name_;
    base::UniqueFd listener_;
    base::UniqueFd stub_;
};

/// Runs the stub: hands over to the relay that listens at `name`. Returns the exit status.
int run_stub(const std::string& name);

} // namespace prong::mpi
