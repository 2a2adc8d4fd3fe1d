// The names that there are without Boost's library: this program compiles lib/diag/symbols.cpp so.

#include "diag/symbols.hpp"

#include "support/catch.hpp"

#include <prong/error.hpp>

void exported_function() {}

namespace {

void hidden_function() {}

} // namespace

TEST_CASE("Without a library for stack traces the dynamic linker's names are used") {
    const auto* const exported = reinterpret_cast<const void*>(&exported_function);
    CHECK(prong::diag::function_at(exported) == "exported_function()");
    CHECK(prong::diag::source_line_of(exported).line == 0);
}

TEST_CASE("Without a library for stack traces a static function has no name") {
    CHECK(prong::diag::function_at(reinterpret_cast<const void*>(&hidden_function)).empty());
}

TEST_CASE("Without a library for stack traces a backtrace says where in its module a frame lies") {
    const auto* const exported = reinterpret_cast<const void*>(&exported_function);
    const std::string text = prong::WorkerDied({.frames = {exported}}, "task").backtrace();
    CHECK_THAT(text, Catch::Contains("#0 exported_function() in "));
    CHECK_THAT(text, Catch::Contains("diag_symbols+0x"));
}
