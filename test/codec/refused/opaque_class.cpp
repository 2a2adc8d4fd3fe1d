// expect: has no serialize function for cereal
#include "submit.hpp"

#include <string>

class Account {
public:
    explicit Account(std::string owner) : owner_(std::move(owner)) {}

private:
    std::string owner_;
};

void open(const Account&) {}

void test() {
    submit(open, Account("me"));
}
