// Runs a function in a child process and prints the exit code.

#include <prong/process.hpp>

#include <iostream>
#include <string>

void greet(const std::string& whom) {
    std::cout << "Hello " << whom << ", from " << prong::current_process().name() << "\n";
}

int main() {
    prong::Process process(greet, "world");
    process.start(); // returns at once
    process.join();  // waits until the child has ended
    std::cout << "exit code " << process.exitcode().value() << "\n";
}
