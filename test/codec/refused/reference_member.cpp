// expect: a reference cannot cross to another process
// expect: Line
#include "submit.hpp"

#include <string>

struct Line {
    const std::string& text;
    int number;
};

void print(const Line&) {}

void test(const std::string& text) {
    submit(print, Line{text, 1});
}
