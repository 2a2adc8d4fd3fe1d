// expect: lose its own members
// expect: Named
#include "submit.hpp"

#include <string>
#include <utility>

struct Named : std::pair<int, std::string> {
    std::string title;
};

void print(const Named&) {}

void test() {
    submit(print, Named{});
}
