// Creates pools from several threads of a server. Workers are forked from the zygote, in which no
// thread can hold a lock.

#include <prong/prong.hpp>

#include <iostream>
#include <mutex>
#include <numeric>
#include <ranges>
#include <thread>
#include <vector>

namespace {

std::mutex output;

int square(int n) {
    const std::lock_guard lock(output); // free in every worker, whatever the server's threads hold
    return n * n;
}

void answer(int request) {
    prong::ProcessPoolExecutor pool(2);
    const auto squares = pool.map(square, std::views::iota(1, request + 1)).get();
    const std::lock_guard lock(output);
    std::cout << "the sum of the first " << request
              << " squares: " << std::accumulate(squares.begin(), squares.end(), 0) << "\n";
}

} // namespace

int main() {
    prong::start_zygote(); // first, while this is the only thread
    std::vector<std::jthread> threads;
    for (const int request : {10, 20, 30}) threads.emplace_back(answer, request);
}
