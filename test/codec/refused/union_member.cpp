// expect: the compiler cannot see whether this class or union holds pointers
// expect: Variant
// expect: "Row::value"
#include "submit.hpp"

union Variant {
    long number;
    const char* text;
};
struct Row {
    int kind;
    Variant value;
};

void print(const Row&) {}

void test() {
    submit(print, Row{});
}
