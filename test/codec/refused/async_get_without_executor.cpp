// expect: prong: this completion token has no executor: pass an executor or io_context
#include <prong/asio.hpp>

void test(prong::Future<int> future) {
    prong::async_get(std::move(future), [](const std::exception_ptr&, int) {});
}
