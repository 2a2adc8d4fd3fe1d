// Shows that a child works on a copy of the parent's memory: the parent sees none of its changes.

#include <prong/process.hpp>

#include <iostream>
#include <vector>

std::vector<int> numbers{1, 2, 3};

void print(const char* where) {
    std::cout << where;
    for (const int number : numbers) std::cout << " " << number;
    std::cout << "\n";
}

int main() {
    prong::Process process([] {
        numbers.push_back(4);
        print("in the child: ");
    });
    process.start();
    process.join();
    print("in the parent:");
}
