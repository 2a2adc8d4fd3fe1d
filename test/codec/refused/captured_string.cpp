// expect: with_captures takes a lambda whose captures are all trivially copyable
#include "submit.hpp"

#include <prong/with_captures.hpp>

#include <string>

void test() {
    std::string text = "abc";
    submit(prong::with_captures([text](int n) { return text + std::to_string(n); }), 1);
}
