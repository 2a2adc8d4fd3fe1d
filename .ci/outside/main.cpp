// What a user's first program does, built outside of the project against what it installs.

#include <prong/prong.hpp>

#include <unistd.h>

#include <iostream>
#include <ranges>
#include <string>

int square(int n) {
    return n * n;
}

int main() {
    prong::ProcessPoolExecutor pool(2);
    int sum = pool.submit(square, 7).get();
    for (const int value : pool.map(square, std::views::iota(0, 10))) sum += value;
    const prong::Listener listener("@prong-outside-" + std::to_string(getpid()), "key");
    std::cout << sum << " " << listener.address() << "\n";
    return sum == 49 + 285 ? 0 : 1;
}
