// expect: a raw pointer cannot cross to another process
#include <prong/prong.hpp>

void fill(int*) {}
int number = 0;
const prong::PoolOptions options{.initializer = {fill, &number}};
