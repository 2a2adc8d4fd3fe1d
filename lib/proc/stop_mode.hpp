#pragma once

#include <cstdint>

namespace prong::proc {

/// How the workers of a supervisor are to end. A mode is replaced only by a later one of the list.
/// Written by the parent, read by supervisor and workers.
enum class StopMode : std::uint32_t {
    none,      ///< they run on; workers that exit are replaced
    drain,     ///< they exit when no work is left; until then workers that die are replaced
    terminate, ///< at once, by SIGTERM
    kill,      ///< at once, by SIGKILL
};

} // namespace prong::proc
