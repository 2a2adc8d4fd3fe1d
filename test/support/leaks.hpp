#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <string>

namespace prong::test {

/// What this process holds that a test must give back: each thing's identity and a text for it.
struct Holdings {
    std::map<pid_t, std::string> processes; ///< children, zombies too, and orphans of this program
    std::map<pid_t, std::string> threads;
    std::map<std::string, std::string> descriptors;
    std::map<std::string, std::string> mappings; ///< of shared memory

    static Holdings now();
};

/// Describes, a line each, what is held now and was not held `before`; empty if there is nothing.
/// Waits up to `grace` for it to vanish, because a process that was asked to end needs a moment.
std::string leaks_since(const Holdings& before, std::chrono::milliseconds grace);

} // namespace prong::test
