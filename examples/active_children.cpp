// Lists the child processes that run, and counts the machine's CPUs.

#include <prong/process.hpp>

#include <unistd.h>

#include <iostream>
#include <vector>

void show_children(const char* when) {
    std::cout << when << ":";
    for (const auto& child : prong::active_children()) std::cout << " " << child.name();
    std::cout << "\n";
}

int main() {
    std::cout << "this machine has " << prong::cpu_count() << " CPUs\n";

    std::vector<prong::Process> processes;
    for (int i = 0; i < 3; ++i) processes.emplace_back([] { pause(); }); // until a signal arrives
    show_children("before the start");

    for (auto& process : processes) process.start();
    show_children("after it");

    processes[1].terminate();
    processes[1].join();
    show_children("after the end of one");

    for (const auto& child : prong::active_children()) {
        child.terminate();
        child.join();
        std::cout << child.name() << " ended with " << child.exitcode().value() << "\n";
    }
}
