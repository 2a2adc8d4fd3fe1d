// expect: cannot cross to another process
#include "submit.hpp"

#include <sstream>

void print(std::ostringstream) {}

void test() {
    submit(print, std::ostringstream());
}
