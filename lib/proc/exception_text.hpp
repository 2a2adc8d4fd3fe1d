#pragma once

#include <string>

namespace prong::proc {

/// Type and text of the exception that is being handled, and of those nested in it, a line each:
/// "std::runtime_error: cannot load\n  caused by std::out_of_range: key".
std::string text_of_current_exception();

/// All at once, past the streams, so that lines of several processes do not mix.
void write_to_stderr(const std::string& text) noexcept;

} // namespace prong::proc
