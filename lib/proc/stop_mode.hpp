#pragma once

#include <cstdint>

namespace prong::proc {

/// How the workers of a supervisor are to end. Only ever grows.
enum class StopMode : std::uint32_t {
    none,      ///< not at all: workers that end are replaced
    drain,     ///< when no work is left; until then workers that die are replaced
    terminate, ///< at once, by SIGTERM
    kill,      ///< at once, by SIGKILL
};

} // namespace prong::proc
