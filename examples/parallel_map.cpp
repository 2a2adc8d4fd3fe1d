// Calls a function for each element of a range in parallel; results come in input order.

#include <prong/prong.hpp>

#include <iostream>
#include <ranges>
#include <string>
#include <vector>

namespace {

bool is_prime(int n) {
    if (n < 2) return false;
    for (int d = 2; d * d <= n; ++d) {
        if (n % d == 0) return false;
    }
    return true;
}

std::string repeat(const std::string& text, int times) {
    std::string result;
    for (int i = 0; i < times; ++i) result += text;
    return result;
}

} // namespace

int main() {
    prong::ProcessPoolExecutor pool(2);

    int primes = 0;
    for (const bool prime : pool.map(is_prime, std::views::iota(0, 100'000))) primes += prime;
    std::cout << primes << " primes below 100000\n";

    // Several ranges in step, up to the end of the shortest; one of them is endless.
    const std::vector<std::string> letters{"a", "b", "c"};
    for (const std::string& text : pool.map(repeat, letters, std::views::iota(1))) {
        std::cout << text << "\n";
    }
}
