// Squares numbers of two producers in two consumers, which are daemons.

#include <prong/process.hpp>
#include <prong/queue.hpp>

#include <iostream>
#include <set>
#include <vector>

void produce(const prong::JoinableQueue<int>& numbers, int begin) {
    for (int n = begin; n < begin + 5; ++n) numbers.put(n);
}

void consume(const prong::JoinableQueue<int>& numbers, const prong::Queue<int>& squares) {
    for (;;) {
        const int n = numbers.get();
        squares.put(n * n);
        numbers.task_done();
    }
}

int main() {
    const prong::JoinableQueue<int> numbers;
    const prong::Queue<int> squares;
    std::vector<prong::Process> consumers;
    for (int i = 0; i < 2; ++i) {
        auto& consumer = consumers.emplace_back(consume, numbers, squares);
        consumer.set_daemon(true); // it never returns: killed at the end of `main`
        consumer.start();
    }
    prong::Process first(produce, numbers, 0);
    prong::Process second(produce, numbers, 5);
    first.start();
    second.start();
    first.join();
    second.join();
    numbers.join(); // until `task_done` was called for each number

    std::set<int> sorted;
    while (const auto square = squares.try_get()) sorted.insert(*square);
    std::cout << "the squares:";
    for (const int square : sorted) std::cout << " " << square;
    std::cout << "\n";
}
