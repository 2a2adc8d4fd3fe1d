// expect: a hook of a pool (initializer, on_worker_start, on_worker_exit) must be copyable
#include <prong/prong.hpp>

void test(std::unique_ptr<int> number) {
    prong::ProcessPoolExecutor pool(
        prong::PoolOptions{.initializer = [number = std::move(number)] { ++*number; }});
}
