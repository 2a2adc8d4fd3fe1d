// expect: a lambda with captures cannot cross to another process
// expect: or say that its bytes mean the same everywhere by prong::is_bitwise_transferable
// expect: Adder
#include "submit.hpp"

class Adder {
public:
    explicit Adder(int number) : number_(number) {}
    int operator()(int other) const { return number_ + other; }

private:
    int number_;
};

void test() {
    submit(Adder(1), 2);
}
