// expect: a number is no duration
#include <prong/prong.hpp>

const prong::PoolOptions options{.start_timeout = 5};
