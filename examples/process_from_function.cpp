// Runs a function in a process of its own, and learns how that ended.

#include <prong/process.hpp>

#include <iostream>
#include <string>

void greet(const std::string& whom) {
    std::cout << "Hello " << whom << ", from " << prong::current_process().name() << "\n";
}

int main() {
    prong::Process process(greet, "world");
    process.start(); // returns at once
    process.join();  // waits for its end
    std::cout << "exit code " << process.exitcode().value() << "\n";
}
