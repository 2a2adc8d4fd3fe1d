// expect: a raw pointer cannot cross to another process
// expect: Table
#include "submit.hpp"

struct Table {
    int size;
    const char* names[8];
};

void print(const Table&) {}

void test() {
    submit(print, Table{});
}
