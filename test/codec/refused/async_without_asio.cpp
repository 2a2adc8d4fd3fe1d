// expect: DefinedInProngAsioHpp
#include <prong/process.hpp>

void test(prong::Process& process) {
    process.async_wait([](int) {});
}
