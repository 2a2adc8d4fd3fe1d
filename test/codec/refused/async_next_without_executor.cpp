// expect: prong: this completion token has no executor: pass an executor or io_context
#include <prong/asio.hpp>

void test(prong::AsyncMap<int>& map) {
    map.async_next([](const std::exception_ptr&, std::optional<int>) {});
}
