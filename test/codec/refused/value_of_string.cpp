// expect: processes share values of trivially copyable types only
#include <prong/value.hpp>

#include <string>

void test() {
    prong::Value<std::string> value;
    value.get_lock();
}
