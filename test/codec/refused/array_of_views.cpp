// expect: a view cannot cross to another process
#include <prong/array.hpp>

#include <string_view>

void test() {
    const prong::Array<std::string_view> array{"a", "b"};
    array[0] = array.at(1);
}
