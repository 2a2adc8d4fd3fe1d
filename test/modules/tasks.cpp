// A module with tasks and hooks of all kinds. What it needs of prong, the program that loads it
// has.

#include <prong/process_pool_executor.hpp>

#include <vector>

namespace {

int hook_runs = 0;

struct Increment {
    std::vector<int> by;
    int of(int n) const { return n + by.front(); }
};

} // namespace

extern "C" {

int count_hook_runs() {
    return hook_runs;
}

void hook() {
    ++hook_runs;
}

int run_lambda(prong::ProcessPoolExecutor& pool, int n) {
    return pool.submit([](int m) { return m + 1; }, n).get();
}

int run_member_function(prong::ProcessPoolExecutor& pool, int n) {
    return pool.submit(&Increment::of, Increment{{1}}, n).get();
}

int run_map(prong::ProcessPoolExecutor& pool, int n) {
    return pool.map([](int m) { return m + 1; }, std::vector<int>{n}).get().at(0);
}

int run_try_submit(prong::ProcessPoolExecutor& pool, int n) {
    return pool.try_submit([](int m) { return m + 1; }, n)->get();
}
}
