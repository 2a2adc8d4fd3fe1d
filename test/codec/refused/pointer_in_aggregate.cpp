// expect: a raw pointer cannot cross to another process
#include "submit.hpp"

struct Node {
    int value;
    Node* next;
};

int sum(const Node& node) {
    return node.value;
}

void test() {
    submit(sum, Node{1, nullptr});
}
