#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Reads small files of the kernel without a stream: constructing a stream takes a lock of the C++
/// library, which may stay locked for ever in a process that was forked from one with threads.
namespace prong::base {

/// Reads a whole file; returns nothing if it cannot be read.
std::optional<std::string> read_file(const std::string& path);

/// Removes the text up to the next of the separators from the front of `text` and returns it. Skips
/// separators in front of it. Returns an empty text at the end.
std::string_view next_word(std::string_view& text, std::string_view separators = " \t\n");

/// Returns the decimal number at the beginning of the text.
std::optional<std::uint64_t> to_number(std::string_view text);

/// Returns the number that follows `word` in a text of "word number" pairs, such as /proc/meminfo.
std::optional<std::uint64_t> number_after(std::string_view word, std::string_view text);

} // namespace prong::base
