// Submits tasks to a pool of worker processes and gets their results through futures.

#include <prong/prong.hpp>

#include <iostream>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

double mean(const std::vector<double>& values) {
    if (values.empty()) throw std::invalid_argument("the mean of nothing");
    return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::string greet(const std::string& name) {
    return "hello, " + name;
}

} // namespace

int main() {
    prong::ProcessPoolExecutor pool(2);

    prong::Future<double> average = pool.submit(mean, std::vector{1.0, 2.0, 6.0});
    prong::Future<std::string> greeting = pool.submit(greet, "world");
    std::cout << average.get() << "\n" << greeting.get() << "\n";

    prong::Future<double> nothing = pool.submit(mean, std::vector<double>{});
    try {
        nothing.get();
    } catch (const std::invalid_argument& error) { // thrown in a worker, caught here
        std::cout << "error: " << error.what() << "\n";
    }
}
