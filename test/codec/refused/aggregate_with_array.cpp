// expect: an aggregate with a base class, a C array or too many members
#include "submit.hpp"

#include <string>

struct Row {
    std::string name;
    int numbers[3];
};

void print(const Row&) {}

void test() {
    submit(print, Row{});
}
