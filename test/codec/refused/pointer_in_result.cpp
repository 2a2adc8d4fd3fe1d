// expect: a raw pointer cannot cross to another process
// expect: "Node::next"
#include "submit.hpp"

#include <optional>
#include <vector>

struct Node {
    int value;
    Node* next;
};

std::optional<std::vector<Node>> make(int) {
    return {};
}

void test() {
    submit(make, 1);
}
