// Counts in a shared value, without and with its lock. Without, counts are lost: two processes may
// both read a number before either of them writes the next one. A barrier makes that certain here;
// it would happen by chance.

#include <prong/barrier.hpp>
#include <prong/process.hpp>
#include <prong/value.hpp>

#include <functional>
#include <iostream>
#include <mutex>

constexpr int rounds = 5;

using AddOne = std::function<void(const prong::Value<int>&)>;

void count_in_two_processes(const char* how, const AddOne& add_one) {
    const prong::Value<int> counter(0);
    const auto count = [&] {
        for (int i = 0; i < rounds; ++i) add_one(counter);
    };
    prong::Process first(count);
    prong::Process second(count);
    first.start();
    second.start();
    first.join();
    second.join();
    std::cout << how << counter.get() << "\n";
}

int main() {
    const prong::Barrier barrier(2);
    count_in_two_processes("without the lock: ", [&](const prong::Value<int>& counter) {
        const int number = counter.get();
        barrier.wait(); // both have read
        counter.set(number + 1);
        barrier.wait(); // both have written
    });
    count_in_two_processes("with the lock:    ", [](const prong::Value<int>& counter) {
        const std::scoped_lock guard(counter.get_lock());
        counter.set(counter.get() + 1);
    });
    count_in_two_processes("with update:      ", [](const prong::Value<int>& counter) {
        counter.update([](int number) { return number + 1; });
    });
}
