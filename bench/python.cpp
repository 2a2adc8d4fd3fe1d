// CPython's two pools, in a separate interpreter: python.py.

#include "isolated.hpp"

#include <unistd.h>

#include <stdexcept>

namespace bench {
namespace {

/// Prefers the distribution's interpreter to the first one in PATH, as developers may have others.
const char* interpreter() {
    return access("/usr/bin/python3", X_OK) == 0 ? "/usr/bin/python3" : "python3";
}

} // namespace

Figures measure_python(const std::string& script, const std::string& pool, const Workload& workload,
                       int workers, double seconds) {
    const std::string size = std::to_string(workers);
    const std::string time = std::to_string(seconds);
    return isolated([&](int output) {
        dup2(output, STDOUT_FILENO);
        execlp(interpreter(), "python3", script.c_str(), pool.c_str(), workload.id.c_str(),
               size.c_str(), time.c_str(), nullptr);
        throw std::runtime_error("cannot start python3");
    });
}

} // namespace bench
