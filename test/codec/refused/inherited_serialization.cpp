// expect: lose its own members
#include "submit.hpp"

struct Base {
    Base() = default;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(number);
    }
    int number = 0;
};
struct Derived : Base {
    Derived() = default;
    double more = 0;
};

void print(const Derived&) {}

void test() {
    submit(print, Derived());
}
