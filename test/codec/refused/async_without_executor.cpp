// expect: this completion token has no executor
#include <prong/asio.hpp>

void test(prong::Process& process) {
    process.async_wait([](const boost::system::error_code&, int) {});
}
