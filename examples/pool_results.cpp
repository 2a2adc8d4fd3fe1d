// Runs different functions in one pool of four processes and collects their results.

#include <prong/prong.hpp>

#include <iostream>
#include <numeric>
#include <string>
#include <vector>

namespace {

std::string reverse(const std::string& text) {
    return {text.rbegin(), text.rend()};
}

int sum(const std::vector<int>& numbers) {
    return std::accumulate(numbers.begin(), numbers.end(), 0);
}

double mean(const std::vector<int>& numbers) {
    return static_cast<double>(sum(numbers)) / static_cast<double>(numbers.size());
}

int square(int n) {
    return n * n;
}

} // namespace

int main() {
    prong::Pool pool(4);
    const std::vector<int> numbers{1, 2, 3, 6};

    const prong::AsyncResult<std::string> text = pool.apply_async(reverse, "stressed");
    const prong::AsyncResult<int> total = pool.apply_async(sum, numbers);
    std::vector<prong::AsyncResult<int>> squares;
    for (const int n : numbers) squares.push_back(pool.apply_async(square, n));
    std::cout << text.get() << " " << total.get() << "\n";
    std::cout << "squares:";
    for (const auto& result : squares) std::cout << " " << result.get();
    std::cout << "\nmap:";
    for (const int n : pool.map(square, numbers)) std::cout << " " << n;
    std::cout << "\n";

    // A callback receives the result in a thread of this process.
    pool.apply_async(prong::callbacks{.done = [](double m) { std::cout << "mean " << m << "\n"; }},
                     mean, numbers);
    pool.close();
    pool.join(); // the callback has run
    std::cout << "closed and joined\n";
}
