// Prints each process's name, its pid and the pid of its parent.

#include <prong/process.hpp>

#include <iostream>

void show(const char* what) {
    const auto self = prong::current_process();
    std::cout << what << ": " << self.name() << ", pid " << self.pid();
    if (const auto parent = prong::parent_process()) std::cout << ", parent " << parent->pid();
    std::cout << "\n";
}

int main() {
    show("main");
    prong::Process process(show, "child");
    process.start();
    process.join();
    std::cout << "the main process knows the child as pid " << process.pid() << "\n";
}
