// expect: a raw pointer cannot cross to another process
#include <prong/value.hpp>

struct Node {
    int number;
    Node* next;
};

void test() {
    prong::Value<Node> value;
    value.update([](Node& node) { ++node.number; });
    value.set(value.get());
}
