// What a user's first program does, built outside of the project against what it installs.

#include <prong/prong.hpp>

#include <iostream>
#include <ranges>

int square(int n) {
    return n * n;
}

int main() {
    prong::ProcessPoolExecutor pool(2);
    int sum = pool.submit(square, 7).get();
    for (const int value : pool.map(square, std::views::iota(0, 10))) sum += value;
    std::cout << sum << "\n";
    return sum == 49 + 285 ? 0 : 1;
}
