// expect: prong: async_wait refers to a future that stays in place
#include <prong/asio.hpp>

void test(boost::asio::io_context& io, prong::ProcessPoolExecutor& pool) {
    prong::async_wait(io, pool.submit([] { return 1; }), [](boost::system::error_code) {});
}
