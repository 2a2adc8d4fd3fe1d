// expect: a comparison or hash that is, or holds, a function pointer
// expect: "By::order"
#include "submit.hpp"

#include <queue>
#include <vector>

struct By {
    std::vector<bool (*)(int, int)> order;
    bool operator()(int a, int b) const { return order.front()(a, b); }
};
using Queue = std::priority_queue<int, std::vector<int>, By>;

int first(const Queue& queue) {
    return queue.top();
}

void test(const Queue& queue) {
    submit(first, queue);
}
