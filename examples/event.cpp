// Waits for an event in two processes: one blocks until it is set, the other gives up earlier.

#include <prong/event.hpp>
#include <prong/process.hpp>

#include <chrono>
#include <iostream>

void wait_until_set(const prong::Event& event) {
    event.wait();
    std::cout << "wait: the event is set\n";
}

void wait_briefly(const prong::Event& event) {
    const bool is_set = event.wait_for(std::chrono::milliseconds(100));
    std::cout << "wait_for: the event is " << (is_set ? "set" : "not set yet") << "\n";
}

int main() {
    const prong::Event event;
    prong::Process patient(wait_until_set, event);
    prong::Process impatient(wait_briefly, event);
    patient.start();
    impatient.start();
    impatient.join();
    std::cout << "main: setting the event" << std::endl;
    event.set();
    patient.join();
}
