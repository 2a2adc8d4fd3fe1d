// Runs four tasks in a pool of three processes, once with apply_async, which returns at once, and
// once with apply, which waits for the task. close and join wait for all.

#include <prong/prong.hpp>

#include <chrono>
#include <cmath>
#include <iostream>
#include <string>
#include <thread>

namespace {

void work(int task, double second) {
    std::this_thread::sleep_for(std::chrono::duration<double>(second));
    std::cout << "task " << task << " is done\n";
}

} // namespace

int main(int argc, char** argv) {
    // The scale of all times; 0.1: ten times as fast.
    const double second = argc > 1 ? std::stod(argv[1]) : 1;

    for (const bool wait : {false, true}) {
        const auto start = std::chrono::steady_clock::now();
        const auto report = [&](const char* what) {
            const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
            std::cout << (wait ? "apply: " : "apply_async: ") << what << " after about "
                      << std::lround(taken.count() / second) << " seconds" << std::endl;
        };
        prong::Pool pool(3);
        for (int task = 0; task < 4; ++task) {
            if (wait) {
                pool.apply(work, task, second);
            } else {
                pool.apply_async(work, task, second);
            }
        }
        report("all calls have returned");
        pool.close();
        pool.join();
        report("all tasks have ended");
    }
}
