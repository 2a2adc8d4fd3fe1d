#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// Small files of the kernel's. No stream is used: in a process that was forked from one with
/// threads, a lock of the C++ library's that constructing a stream takes may stay locked for ever.
namespace prong::base {

/// Reads a whole file; empty if it cannot be read.
std::optional<std::string> read_file(const std::string& path);

/// Takes the text up to the next separator, which is one of these, off the front of `text`.
/// Separators in front of it are passed over. Empty at the end.
std::string_view next_word(std::string_view& text, std::string_view separators = " \t\n");

/// The decimal number that the text begins with.
std::optional<std::uint64_t> to_number(std::string_view text);

/// The number that follows a word in a file of "word number" pairs, such as /proc/meminfo.
std::optional<std::uint64_t> number_after(std::string_view word, std::string_view text);

} // namespace prong::base
