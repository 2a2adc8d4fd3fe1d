// Lets at most two of five processes do something at once.

#include <prong/event.hpp>
#include <prong/process.hpp>
#include <prong/queue.hpp>
#include <prong/semaphore.hpp>

#include <algorithm>
#include <iostream>
#include <vector>

void visit(const prong::BoundedSemaphore& room, const prong::Queue<int>& changes,
           const prong::Event& may_leave) {
    const prong::Permit permit = room.permit(); // given back at the end of the function
    changes.put(+1);
    may_leave.wait();
    changes.put(-1);
}

int main() {
    const prong::BoundedSemaphore room(2);
    const prong::Queue<int> changes;
    const prong::Event may_leave;
    std::vector<prong::Process> visitors;
    for (int i = 0; i < 5; ++i) visitors.emplace_back(visit, room, changes, may_leave).start();

    int inside = changes.get() + changes.get();
    std::cout << inside << " inside, free permits: " << room.value() << "\n";
    may_leave.set();
    int most = inside;
    for (int i = 2; i < 2 * 5; ++i) {
        inside += changes.get();
        most = std::max(most, inside);
    }
    std::cout << "never more than " << most << " inside\n";
    for (auto& visitor : visitors) visitor.join();
    std::cout << "all gone, free permits: " << room.value() << "\n";
}
