#pragma once

#include <cstddef>
#include <string>

/// Finds functions and source lines by address, from symbols and debugging information. The first
/// call in a thread takes some tenths of a second, and memory that is never freed: Boost reads the
/// debugging information for each thread.
namespace prong::diag {

/// Returns the function's name; an empty text if it is unknown.
std::string function_at(const void* address);

struct SourceLine {
    std::string file;
    std::size_t line = 0; ///< 0: unknown
};
SourceLine source_line_of(const void* address);

} // namespace prong::diag
