// Acquires a lock whose holder was killed, and learns who that was.

#include <prong/lock.hpp>
#include <prong/process.hpp>

#include <csignal>
#include <iostream>

void change(const prong::Lock& lock) {
    lock.acquire();
    std::raise(SIGKILL); // in the middle of the change
}

int main() {
    const prong::Lock lock;
    prong::Process process(change, lock);
    process.start();
    process.join();

    std::cout << std::boolalpha;
    const prong::Acquired acquired = lock.acquire(); // does not hang
    if (acquired.previous_died()) {
        const prong::DeadHolder dead = acquired.who();
        std::cout << dead.name << ", pid " << dead.pid << ", died while it held the lock\n"
                  << "abandoned: " << lock.abandoned() << "\n";
        lock.mark_consistent(); // after repairing what the lock protects
    }
    std::cout << "abandoned: " << lock.abandoned() << "\n";
    lock.release();
}
