// Starts several processes, then joins them all. Takes as long as the longest process, not as long
// as all of them in turn.

#include <prong/process.hpp>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

using Seconds = std::chrono::duration<double>;

int main(int argc, char** argv) {
    // The scale of all times; 0.1: ten times as fast.
    const double second = argc > 1 ? std::stod(argv[1]) : 1;

    const auto begin = std::chrono::steady_clock::now();
    std::vector<prong::Process> processes;
    for (const int seconds : {1, 2, 3}) {
        processes.emplace_back([=] { std::this_thread::sleep_for(Seconds(seconds * second)); });
    }
    for (auto& process : processes) process.start();
    for (auto& process : processes) process.join();
    const Seconds taken = std::chrono::steady_clock::now() - begin;

    std::cout << "slept 1 + 2 + 3 = 6 seconds in " << taken / Seconds(second) << " seconds\n";
}
