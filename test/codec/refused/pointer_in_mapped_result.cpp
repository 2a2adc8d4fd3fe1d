// expect: a raw pointer cannot cross to another process
// expect: "Node::next"
#include <prong/prong.hpp>

struct Node {
    int value;
    Node* next;
};

void test(prong::ProcessPoolExecutor& pool) {
    for (const Node& node : pool.map([](int n) { return Node{n, nullptr}; }, std::vector{1, 2}))
        static_cast<void>(node);
}
