// expect: lose its own members
#include "submit.hpp"

#include <string>
#include <vector>

struct Table : std::vector<int> {
    std::string title;
};

void print(const Table&) {}

void test() {
    submit(print, Table{});
}
