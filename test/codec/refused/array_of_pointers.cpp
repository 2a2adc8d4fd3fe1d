// expect: a raw pointer cannot cross to another process
#include <prong/array.hpp>

void test() {
    const prong::Array<const char*> array(3);
    array[0] = "text";
}
