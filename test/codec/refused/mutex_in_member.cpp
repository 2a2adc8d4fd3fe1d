// expect: neither trivially copyable nor an aggregate
// expect: std::mutex
// expect: "Account::lock"
#include "submit.hpp"

#include <mutex>
#include <string>

struct Account {
    std::string owner;
    std::mutex lock;
};

void open(const Account&) {}

void test(const Account& account) {
    submit(open, account);
}
