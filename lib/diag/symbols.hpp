#pragma once

#include <cstddef>
#include <string>

/// What stands at an address of code, as far as symbols and debugging information tell. The first
/// call in a thread takes some tenths of a second, and memory that is never given back: Boost reads
/// the debugging information for every thread anew.
namespace prong::diag {

/// The function's name; empty if it is not known.
std::string function_at(const void* address);

struct SourceLine {
    std::string file;
    std::size_t line = 0; ///< 0: not known
};
SourceLine source_line_of(const void* address);

} // namespace prong::diag
