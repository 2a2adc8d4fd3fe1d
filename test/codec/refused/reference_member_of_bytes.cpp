// expect: a reference cannot cross to another process
// expect: Scaled
#include "submit.hpp"

#include <vector>

struct Scaled {
    const double& factor;
    int number;
};

void apply(const std::vector<Scaled>&) {}

void test(const std::vector<Scaled>& all) {
    submit(apply, all);
}
