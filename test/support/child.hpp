#pragma once

#include <functional>
#include <string>
#include <vector>

namespace prong::test {

/// How a forked child ended and what it wrote.
struct ChildResult {
    int exitcode; ///< what it exited with, or -N when signal N killed it
    std::string out;
    std::string err;
};

/// Runs `body` in a forked child with all signal handlers reset and waits for its end. The child
/// exits with what `body` returns, or with 99 and the text on stderr when it throws.
/// Assertions of Catch2 are of no use in there: return a value and check it outside.
ChildResult run_in_child(const std::function<int()>& body);

/// Runs this test program in a child with `arguments`, each after its own name.
ChildResult run_self(const std::vector<std::string>& arguments);

} // namespace prong::test
