// Derives from `Process`: `run()` runs in the child, on a copy of the members.

#include <prong/process.hpp>

#include <iostream>

class Countdown : public prong::Process {
public:
    explicit Countdown(int from) : left_(from) {}

    void run() override {
        while (left_ > 0) std::cout << left_-- << "\n";
        std::cout << "lift-off\n";
    }

    int left() const { return left_; }

private:
    int left_;
};

int main() {
    Countdown countdown(3);
    countdown.start();
    countdown.join();
    std::cout << "the parent's own copy still says " << countdown.left() << "\n";
}
