// expect: a view cannot cross to another process
#include "submit.hpp"

#include <string_view>
#include <vector>

void print(const std::vector<std::string_view>&) {}

void test() {
    submit(print, std::vector<std::string_view>{});
}
