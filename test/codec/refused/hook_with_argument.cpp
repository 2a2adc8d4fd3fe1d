// expect: a hook of a pool (initializer, on_worker_start, on_worker_exit) must be callable without
#include <prong/prong.hpp>

const prong::PoolOptions options{.on_worker_exit = [](int) {}};
