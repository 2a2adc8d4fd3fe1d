#pragma once

namespace prong::test {

/// What a test program does on the first line of `main`, if it defines this.
[[gnu::weak]] void at_start(int argc, char** argv);

} // namespace prong::test
