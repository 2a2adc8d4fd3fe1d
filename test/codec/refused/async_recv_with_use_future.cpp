// expect: prong: this completion token has no executor: pass an executor or io_context
#include <prong/asio.hpp>

void test(prong::Connection& connection) {
    connection.async_recv<int>(boost::asio::use_future);
}
