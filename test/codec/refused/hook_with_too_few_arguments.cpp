// expect: the number of arguments is not the number of the callable's parameters
#include <prong/prong.hpp>

void open(const std::string&, int) {}
const prong::PoolOptions options{.on_worker_start = {open, "tables.db"}};
