// expect: the compiler cannot see whether this class or union holds pointers
// expect: Row
#include "submit.hpp"

struct Row {
    int kind;
    union {
        long number;
        const char* text;
    };
};

void print(const Row&) {}

void test() {
    submit(print, Row{});
}
