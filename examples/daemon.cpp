// Ends a program that has a daemon and an ordinary child: kills the daemon, waits for the child.

#include <prong/process.hpp>

#include <chrono>
#include <iostream>
#include <string>
#include <thread>

void work(const std::string& name, double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    std::cout << name << " has finished\n";
}

int main(int argc, char** argv) {
    // The scale of all times; 0.1: ten times as fast.
    const double second = argc > 1 ? std::stod(argv[1]) : 1;

    prong::Process daemon(work, "the daemon", 1'000'000 * second);
    daemon.set_daemon(true); // before the start
    daemon.start();
    prong::Process child(work, "the child", 2 * second);
    child.start();
    std::cout << "the parent has nothing more to do\n" << std::flush;
} // kills the daemon and waits for the child
