// Runs ten tasks of one second on four workers. Synchronously (submit one, wait for it) they take
// about ten seconds; asynchronously (submit all, then wait) about three.

#include <prong/prong.hpp>

#include <chrono>
#include <cmath>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int tasks = 10;

int work(int task, double second) {
    std::this_thread::sleep_for(std::chrono::duration<double>(second));
    return task;
}

int synchronous(prong::ProcessPoolExecutor& pool, double second) {
    int sum = 0;
    for (int i = 0; i < tasks; ++i) sum += pool.submit(work, i, second).get();
    return sum;
}

int asynchronous(prong::ProcessPoolExecutor& pool, double second) {
    std::vector<prong::Future<int>> futures;
    for (int i = 0; i < tasks; ++i) futures.push_back(pool.submit(work, i, second));
    int sum = 0;
    for (auto& future : futures) sum += future.get();
    return sum;
}

} // namespace

int main(int argc, char** argv) {
    // The scale of all times; 0.1: ten times as fast.
    const double second = argc > 1 ? std::stod(argv[1]) : 1;

    prong::ProcessPoolExecutor pool(4);
    for (const auto& [name, invoke] :
         {std::pair("synchronous:  ", &synchronous), std::pair("asynchronous: ", &asynchronous)}) {
        const auto start = std::chrono::steady_clock::now();
        const int sum = invoke(pool, second);
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
        std::cout << name << "sum " << sum << ", about " << std::lround(took.count() / second)
                  << " seconds\n";
    }
}
