// expect: a raw pointer cannot cross to another process
// expect: int
// expect: "In::pointer"
// expect: ElementOf<std::vector<In
// expect: "Out::values"
#include "submit.hpp"

#include <string>
#include <vector>

struct In {
    std::string name;
    int* pointer;
};
struct Out {
    int number;
    std::vector<In> values;
};

void print(const Out&) {}

void test() {
    submit(print, Out{});
}
